"""Predict and score at the size of the image"""
