"""`python -m domains.personalized_diffusion.tiny`."""

from jsonargparse import auto_cli

from domains.personalized_diffusion.tiny.rebuild import rebuild

if __name__ == "__main__":
    auto_cli(rebuild)
