"""Drawn clips with exact alpha: people with strand hair, lit, before backgrounds, through a moving camera.

`scene` puts the other modules together. Lengths are fractions of the frame's height, y points down, the origin is the
frame's centre. Every frame depends on its time alone, so any part of a clip can be drawn without the rest.
"""
