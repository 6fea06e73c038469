"""The page that `GET /` gives."""

from __future__ import annotations

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>cifarnet</title>
<h1>Classify an image</h1>
<form action="/predict" method="post" enctype="multipart/form-data">
<p><label>Image file: <input type="file" name="image" accept="image/*" required></label></p>
<p><button>Classify</button></p>
</form>
</html>
"""
CSP = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


def html() -> str:
    """Return the page."""
    return _PAGE
