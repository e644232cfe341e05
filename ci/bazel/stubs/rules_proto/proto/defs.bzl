"""Stub of @rules_proto: hands on Bazel's native protocol buffer rules, which Bazel's own tool packages load."""

proto_lang_toolchain = native.proto_lang_toolchain
proto_library = native.proto_library
