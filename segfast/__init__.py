"""Train image segmentation models with fastai: one command from a folder of images and masks to a scored model."""

__version__ = "0.1.0"
