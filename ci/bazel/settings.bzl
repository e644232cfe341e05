"""A Boolean that a configuration can carry and a select() can ask for: the part of bazel_skylib that we need."""

def _bool_setting_impl(_ctx):
    return []

bool_setting = rule(
    implementation = _bool_setting_impl,
    build_setting = config.bool(flag = True),
    doc = "A Boolean build setting, read by config_setting(flag_values = …).",
)
