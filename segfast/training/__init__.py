"""Losses, optimizers, callbacks and the stages of a training"""
