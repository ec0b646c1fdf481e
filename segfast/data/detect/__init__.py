"""What masks mean where no format says it: class names, values, several masks per image"""
