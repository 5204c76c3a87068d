"""The bundle to open; its class lies outside this room, so that a command can name a bundle without importing torch."""

from segpipe.bundle_source import BundleSource as BundleSource
