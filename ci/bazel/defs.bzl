"""How the C code of this tree is compiled and tested. Every BUILD file takes its rules from here.

    shmq_cc_library, shmq_cc_binary   the native rules, with COPTS and static linking of our own code
    shmq_cxx_library                  the same of C++ sources
    shmq_cc_test, shmq_sh_test        a test, and the same test again under each sanitizer it names
    shmq_lint_files                   the files of a package that tests/lint looks at

To add a warning, edit COPTS. To add a sanitizer or another tool that tests run under, add an entry to VARIANTS, and how
slow it is to tests/support/check.c.
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

# The language, as the sources see it. Lint tools that parse C are given the same.
DIALECT = [
    "-std=gnu11",
    "-D_GNU_SOURCE",
]

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Walloca",
    "-Wcast-align",
    "-Wcast-qual",
    "-Wconversion",
    "-Wdate-time",
    "-Wdouble-promotion",
    "-Wformat=2",
    "-Wimplicit-fallthrough",
    "-Wmissing-prototypes",
    "-Wnull-dereference",
    "-Wold-style-definition",
    "-Wpointer-arith",
    "-Wredundant-decls",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wundef",
    "-Wvla",
    "-Wwrite-strings",
]

_CODE = [
    "-O2",
    "-g",
    "-gdwarf-4",  # valgrind 3.19 cannot read clang's default, DWARF 5
    "-fstack-protector-strong",
] + select({
    # Sanitizers do not see into the checked copies that _FORTIFY_SOURCE calls instead of memcpy.
    "//ci/bazel:is_sanitized": [],
    "//conditions:default": ["-D_FORTIFY_SOURCE=2"],
})

COPTS = DIALECT + WARNINGS + _CODE

# What clang++ would tell of no C++ source, and g++ refuses.
_C_ONLY = ["-Wmissing-prototypes", "-Wold-style-definition", "-Wstrict-prototypes"]

_CXX_COPTS = [
    "-std=gnu++20",
    "-D_GNU_SOURCE",
] + [warning for warning in WARNINGS if warning not in _C_ONLY] + _CODE + [
    "-fno-sanitize=vptr",  # needs more of clang's C++ runtime than programs of C are linked with
]

# What the library needs, as README.md's line for users without Bazel has it.
LIBRARY_LINKOPTS = [
    "-pthread",
    "-lrt",
]

LINKOPTS = [
    "-Wl,--as-needed",  # Bazel links libstdc++ and libm into everything: leave out what a program does not call
    "-fuse-ld=bfd",  # Bazel would take gold, which prints dozens of warnings at clang's sanitizer libraries
]

# What every program gets besides when it is built for a sanitizer.
SANITIZER_DEPS = select({
    "//ci/bazel:is_sanitized": ["//tests/support:msan"],
    "//conditions:default": [],
})

# What a test can run under besides itself. The keys are the names in shmq_cc_test(sanitizers = […]); the variant of
# test X is X_<key>, and carries <key> as a tag (bazel test //... --test_tag_filters=asan).
#   flags      compiles and links everything below the test, its data (the programs it starts) included
#   options    the sanitizer's variables. Exit status 99 everywhere: no test expects that from a program it starts
#   run_under  a command put in front of the test binary; of a script, in front of the programs that it starts
#   timeout    by size, where the tool is slow; else that of the size
# A test finds its variant in SHMQ_TEST_VARIANT; tests/support/check.h makes its figures smaller and its patience longer.
# Not by options are the tools told what to overlook: where one is wrong the test that meets it goes another way, and
# says why at its place; valgrind.supp is for what happens inside libc.
_SLOW = {"small": "moderate", "medium": "long", "large": "eternal", "enormous": "eternal"}

VARIANTS = {
    "asan": struct(
        flags = [
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer",
        ],
        options = {
            "ASAN_OPTIONS": "exitcode=99:halt_on_error=1:detect_leaks=1:detect_stack_use_after_return=1:" +
                            "strict_string_checks=1:check_initialization_order=1",
            "UBSAN_OPTIONS": "exitcode=99:halt_on_error=1:print_stacktrace=1",
            "LSAN_OPTIONS": "exitcode=99",
        },
        run_under = [],
        timeout = {},
    ),
    "tsan": struct(
        flags = ["-fsanitize=thread", "-fno-omit-frame-pointer"],
        options = {"TSAN_OPTIONS": "exitcode=99:halt_on_error=1:second_deadlock_stack=1"},
        run_under = [],
        timeout = _SLOW,
    ),
    "msan": struct(
        flags = [
            "-fsanitize=memory",
            "-fsanitize-memory-track-origins=2",
            "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer",
        ],
        options = {"MSAN_OPTIONS": "exitcode=99:halt_on_error=1:poison_in_dtor=1"},
        run_under = [],
        timeout = {},
    ),
    "valgrind": struct(
        flags = [],
        options = {},
        run_under = [
            "valgrind",
            "-q",
            "--vgdb=no",  # no debugger's FIFOs in /tmp
            "--error-exitcode=99",  # leaks count too, and processes that end by _exit
            "--leak-check=full",
            "--trace-children=yes",
            # The guard against SIGBUS mends what a load or store met and returns to it: then all registers must be right.
            "--vex-iropt-register-updates=allregs-at-mem-access",
            "--fair-sched=try",  # it runs one thread at a time: who spins must not starve whom it waits for
            "--suppressions=$suppressions",
        ],
        timeout = _SLOW,
    ),
}

# Every C test runs under every tool, unless its BUILD file says why it cannot or gains nothing.
_FOR_C = VARIANTS.keys()

# A script starts programs, and they have one thread each: ThreadSanitizer has nothing to compare in them.
_FOR_SCRIPTS = [variant for variant in VARIANTS if variant != "tsan"]

_COPT = "//command_line_option:copt"
_LINKOPT = "//command_line_option:linkopt"
_SANITIZED = "//ci/bazel:sanitized"

def _variant_transition_impl(settings, attr):
    flags = VARIANTS[attr.variant].flags
    return {
        _COPT: settings[_COPT] + flags,
        _LINKOPT: settings[_LINKOPT] + flags,
        _SANITIZED: bool(flags),
    }

_variant_transition = transition(
    implementation = _variant_transition_impl,
    inputs = [_COPT, _LINKOPT],
    outputs = [_COPT, _LINKOPT, _SANITIZED],
)

# Starts the variant's binary, which has the name and place in the runfiles that the plain test has in its own.
# A script and not a symbolic link, so that the environment is there too when someone starts it by hand from bazel-bin.
_LAUNCHER = """#!/bin/bash
# Generated by ci/bazel/defs.bzl: {label} under {variant}.
runfiles=${{TEST_SRCDIR:-$0.runfiles}}
symbolizer=$(command -v llvm-symbolizer-19 || command -v llvm-symbolizer)
traces=external_symbolizer_path=$symbolizer:strip_path_prefix=/proc/self/cwd/
suppressions=$runfiles/{suppressions}
export SHMQ_TEST_VARIANT={variant}
{exports}
run_under="{run_under}"
if [[ -n $run_under ]] && ! command -v "${{run_under%% *}}" >/dev/null; then
    echo "SKIP: needs ${{run_under%% *}}"
    exit 0
fi
{start}
"""

def _variant_test_impl(ctx):
    variant = VARIANTS[ctx.attr.variant]
    binary = ctx.attr.binary[0][DefaultInfo]  # a transition makes every label a list
    if ctx.attr.is_script:
        start = 'SHMQ_RUN_UNDER=$run_under exec "$runfiles/{binary}" "$@"'
    else:
        start = 'exec $run_under "$runfiles/{binary}" "$@"'
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(
        output = launcher,
        is_executable = True,
        content = _LAUNCHER.format(
            label = "//%s:%s" % (ctx.attr.binary[0].label.package, ctx.attr.binary[0].label.name),
            variant = ctx.attr.variant,
            exports = "\n".join(["export %s=%s:$traces" % item for item in variant.options.items()]),
            suppressions = ctx.workspace_name + "/" + ctx.file._suppressions.short_path,
            run_under = " ".join(variant.run_under),
            start = start.format(binary = ctx.workspace_name + "/" + binary.files_to_run.executable.short_path),
        ),
    )
    files = [binary.files_to_run.executable, ctx.file._suppressions]
    runfiles = ctx.runfiles(files = files).merge(binary.default_runfiles)
    environment = {
        key: ctx.expand_location(value, ctx.attr.data)
        for key, value in ctx.attr.test_env.items()
    }
    return [
        DefaultInfo(executable = launcher, runfiles = runfiles),
        testing.TestEnvironment(environment),
    ]

_variant_test = rule(
    implementation = _variant_test_impl,
    test = True,
    doc = "Runs a test binary again, built and started as VARIANTS says.",
    attrs = {
        "binary": attr.label(cfg = _variant_transition, mandatory = True),
        "data": attr.label_list(cfg = _variant_transition, allow_files = True),  # for $(location) in args and env
        "is_script": attr.bool(),
        "test_env": attr.string_dict(),
        "variant": attr.string(values = VARIANTS.keys(), mandatory = True),
        "_suppressions": attr.label(default = "//ci/bazel:valgrind.supp", allow_single_file = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)

def shmq_cc_library(name, copts = [], **kwargs):
    """cc_library with our flags; static, so that nothing is compiled or linked twice."""
    cc_library(
        name = name,
        copts = COPTS + copts,
        linkstatic = True,
        **kwargs
    )

def shmq_cxx_library(name, **kwargs):
    """shmq_cc_library for C++, which the tree has only where a library to compare with is C++."""
    cc_library(
        name = name,
        copts = _CXX_COPTS,
        linkstatic = True,
        **kwargs
    )

def shmq_cc_binary(name, deps = [], copts = [], linkopts = [], **kwargs):
    """cc_binary with our flags."""
    cc_binary(
        name = name,
        deps = deps + SANITIZER_DEPS,
        copts = COPTS + copts,
        linkopts = LINKOPTS + linkopts,
        linkstatic = True,
        **kwargs
    )

def _variants(name, is_script, sanitizers, size, tags, data, args, env, kwargs):
    for variant in sanitizers:
        slow = VARIANTS[variant].timeout
        own = dict(kwargs)
        if size in slow and "timeout" not in own:
            own["timeout"] = slow[size]
        _variant_test(
            name = name + "_" + variant,
            binary = ":" + name,
            is_script = is_script,
            variant = variant,
            data = data,
            args = args,
            test_env = env,
            size = size,
            tags = tags + [variant],
            **own
        )

def shmq_cc_test(
        name,
        srcs,
        deps = [],
        data = [],
        args = [],
        env = {},
        size = "small",
        tags = [],
        copts = [],
        linkopts = [],
        sanitizers = _FOR_C,
        **kwargs):
    """A test `name`, and `name_asan` and so on: the same test with everything below it built for that sanitizer.

    Args:
      name: the test's name; reproduce a failure with `bazel test //package:name` or `bazel test //package:name_asan`.
      srcs: C sources.
      deps: libraries.
      data: files and programs that it needs at run time; a variant gets the programs built the same way.
      args: arguments of the test binary; $(location X) of `data` is expanded.
      env: environment variables, likewise.
      size: small, medium, large or enormous, as in Bazel.
      tags: Bazel's tags; the variants have their own name as one more.
      copts: further compiler options.
      linkopts: further linker options.
      sanitizers: keys of VARIANTS; all of them unless there is a reason, which the BUILD file says.
      **kwargs: whatever else cc_test takes and a test rule has too (timeout, shard_count, visibility …).
    """
    cc_test(
        name = name,
        srcs = srcs,
        copts = COPTS + copts,
        linkopts = LINKOPTS + linkopts,
        linkstatic = True,
        deps = deps + SANITIZER_DEPS,
        data = data,
        args = args,
        env = env,
        size = size,
        tags = tags,
        **kwargs
    )
    _variants(name, False, sanitizers, size, tags, data, args, env, kwargs)

def shmq_sh_test(
        name,
        srcs,
        data = [],
        args = [],
        env = {},
        size = "small",
        tags = [],
        sanitizers = _FOR_SCRIPTS,
        **kwargs):
    """A script that tests the programs among its data, and the same with these programs built for each sanitizer.

    It starts them with the words of SHMQ_RUN_UNDER in front, if that is set: valgrind is for them, not for the script.

    Args: as shmq_cc_test; the default leaves out tsan.
    """
    native.sh_test(
        name = name,
        srcs = srcs,
        data = data,
        args = args,
        env = env,
        size = size,
        tags = tags,
        **kwargs
    )
    _variants(name, True, sanitizers, size, tags, data, args, env, kwargs)

def shmq_lint_files():
    """The package's C files and shell scripts, for tests/lint (which also checks that no package was forgotten)."""
    native.filegroup(
        name = "lint_files",
        srcs = native.glob(
            ["**/*.c", "**/*.h", "**/*.cc", "**/*.sh"],
            allow_empty = True,
        ),
        visibility = ["//tests/lint:__pkg__"],
    )
