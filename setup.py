"""Packages of the distribution: those under src/, templates, and configs/ as `cifarnet.configs`."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages("src"),
        "cifarnet.browser.templates",
        "cifarnet.reporting.templates",
        "cifarnet.configs",
    ],
    package_dir={"": "src", "cifarnet.configs": "configs"},
)
