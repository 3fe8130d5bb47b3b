"""Pictures of a prepared clip for inspection. Imports Matplotlib and stages."""
