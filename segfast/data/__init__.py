"""From a folder of images and masks to checked pairs and batches"""
