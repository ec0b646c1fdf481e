"""Errors, text, files, devices and HTML: what every other package uses"""
