"""Pictures and pages out of plain arrays and text: a plane to draw on, SVG, matplotlib, HTML.

Nothing here knows records, searches or databases.
"""
