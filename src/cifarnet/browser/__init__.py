"""The page that classifies a photo: with the network inside it, or with a server's."""

from cifarnet.browser.page import About, Examples, Page, for_server, for_web, network_in

__all__ = ["About", "Examples", "Page", "for_server", "for_web", "network_in"]
