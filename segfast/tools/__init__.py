"""Export, Segment Anything and the local page"""
