"""An image running: on the builder's sandbox, over the image's trees."""
