"""What a build takes from elsewhere than its contexts and registries: files at URLs, and git repositories."""
