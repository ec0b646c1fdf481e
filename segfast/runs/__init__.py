"""Recipes and run folders: what is needed to repeat a training"""
