"""Drawn clips with exact alpha: people with strand hair, lit, before backgrounds, through a moving camera.

`scene` puts the rest together. Lengths are fractions of the frame's height, y down, the origin at its centre. Every
frame is a function of its absolute time, so any stretch of a clip can be drawn alone and nothing is held.
"""
