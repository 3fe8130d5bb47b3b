"""Pictures of a prepared clip for a person to look at. Imports Matplotlib and stages."""
