"""Ask a trained model about videos. May import models, storage, report; never experiments."""
