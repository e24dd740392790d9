"""Encoded images: format and size from their headers, decoding and encoding, reading many from their files.

`codec` looks at one image, `headers` at all images of a part together, `reader` reads image bytes by file, offset and
CRC.

May import: `storage`, `errors`.
"""
