"""Scores from one confusion matrix, boundary IoU and calibration"""
