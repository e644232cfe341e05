"""What a configuration can carry and a select() can ask for: the part of bazel_skylib that we need.

    bool_setting     read by config_setting(flag_values = {…: "True"})
    string_setting   likewise; its value is also a provider, Setting, for rules that depend on it
"""

Setting = provider(doc = "The value of a build setting.", fields = ["value"])

def _bool_setting_impl(_ctx):
    return []

bool_setting = rule(
    implementation = _bool_setting_impl,
    build_setting = config.bool(flag = True),
    doc = "A Boolean build setting, read by config_setting(flag_values = …).",
)

def _string_setting_impl(ctx):
    if ctx.build_setting_value not in ctx.attr.values:
        fail("%s is %s, and must be one of: %s" % (ctx.label, ctx.build_setting_value, ", ".join(ctx.attr.values)))
    return Setting(value = ctx.build_setting_value)

string_setting = rule(
    implementation = _string_setting_impl,
    build_setting = config.string(flag = True),
    attrs = {"values": attr.string_list(mandatory = True)},
    doc = "A build setting that is one of some words.",
)
