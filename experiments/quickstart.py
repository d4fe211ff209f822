"""quickstart"""

from ml_collections import ConfigDict

from tokjax.config import defaults, stream


def get_config() -> ConfigDict:
    config = defaults()
    config.name = "quickstart"
    config.model.update(
        {
            "channels": 8,
            "channel_multipliers": (1, 2, 4, 8),
            "blocks_per_level": 1,
            "latent_channels": 4,
            "time_factor": 2,
            "init": "he",
            "time_down": (2,),
            "time_up": (3,),
        }
    )
    config.data.train.image = stream("images", "data/sample/train/images", batch=16, resolution=32, short_side=120)
    config.data.train.video = stream(
        "videos",
        "data/sample/train/videos",
        table="data/sample/train/videos.csv",
        batch=8,
        frames=5,
        resolution=32,
        short_side=120,
        frame_rate=8.0,
    )
    config.data.validation.images = stream(
        "images", "data/sample/validation/images", batch=8, resolution=64, short_side=120, crop="centre", flip=False
    )
    config.data.validation.videos = stream(
        "videos",
        "data/sample/validation/videos",
        table="data/sample/validation/videos.csv",
        batch=4,
        frames=5,
        resolution=64,
        short_side=120,
        frame_rate=8.0,
        crop="centre",
        flip=False,
    )
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b2 = 0.95
    config.optimizer.schedule = "cosine"
    config.training.steps = 600
    config.training.log_every = 50
    config.training.evaluate_every = 200
    config.training.checkpoint_every = 20
    return config
