"""An image in the making: `build` goes through plan, resolve, solve and publish, each a room of its own."""
