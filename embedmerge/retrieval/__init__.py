"""Text to vectors to ranked lists."""
