"""Tables, charts and pages that show a run"""
