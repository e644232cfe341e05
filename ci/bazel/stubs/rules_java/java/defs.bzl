"""Stub of @rules_java: hands on Bazel's native Java rules, which Bazel's own tool packages load."""

java_binary = native.java_binary
java_import = native.java_import
java_library = native.java_library
java_proto_library = native.java_proto_library
java_runtime = native.java_runtime
java_toolchain = native.java_toolchain
