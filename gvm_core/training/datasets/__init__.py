"""Training clips composed of pictures: people cut out of photographs, before places where there are none."""
