"""One reader for each dataset format"""
