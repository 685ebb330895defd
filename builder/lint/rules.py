"""The rules, as one table: those of BuildKit's linter under their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pybuild.builder.lint import bodies, heads
from pybuild.builder.lint.findings import Hit
from pybuild.builder.lint.seen import View
from pybuild.values import frozen

_DOCKER = "https://docs.docker.com/go/dockerfile/rule"


@frozen
class Rule:
    """One rule. `summary` says what a file that keeps it looks like; `is_mended` whether there is a fix for it, at least in
    most places; an experimental rule has to be asked for. Its page is docs/rules/NAME.md."""

    name: str
    summary: str
    check: Callable[[View], Iterator[Hit]]
    is_mended: bool = False
    is_experimental: bool = False

    @property
    def page(self) -> str:
        """The rule's page, from the repository's root."""
        return f"docs/rules/{self.name}.md"

    @property
    def url(self) -> str:
        """Docker's page on the same rule."""
        return f"{_DOCKER}/{re.sub('(?<!^)(?=[A-Z][a-z])', '-', self.name).lower()}/"


RULES = (
    Rule("StageNameCasing", "names of stages are in lower case", heads.stage_name_casing, is_mended=True),
    Rule("FromAsCasing", "AS is in the case that FROM is in", heads.from_as_casing, is_mended=True),
    Rule("NoEmptyContinuation", "no instruction has an empty line inside", heads.no_empty_continuation, is_mended=True),
    Rule(
        "ConsistentInstructionCasing",
        "all keywords are in upper case, or all in lower case",
        heads.consistent_instruction_casing,
        is_mended=True,
    ),
    Rule("DuplicateStageName", "every stage has a name of its own", heads.duplicate_stage_name),
    Rule("ReservedStageName", "no stage is called scratch or context", heads.reserved_stage_name),
    Rule("JSONArgsRecommended", "CMD and ENTRYPOINT are in the JSON form", bodies.json_args_recommended),
    Rule("MaintainerDeprecated", "authors stand in a label, not in MAINTAINER", bodies.maintainer_deprecated),
    Rule("UndefinedArgInFrom", "FROM uses arguments that are declared", heads.undefined_arg_in_from),
    Rule("WorkdirRelativePath", "the first WORKDIR is an absolute path", bodies.workdir_relative_path, is_mended=True),
    Rule("UndefinedVar", "variables are defined before they are used", bodies.undefined_var),
    Rule(
        "MultipleInstructionsDisallowed",
        "a stage has one CMD, one ENTRYPOINT and one HEALTHCHECK at most",
        bodies.multiple_instructions_disallowed,
    ),
    Rule("LegacyKeyValueFormat", "ENV and LABEL are written with =", bodies.legacy_key_value_format, is_mended=True),
    Rule("InvalidBaseImagePlatform", "base images are for the platform of their stage", heads.invalid_base_image_platform),
    Rule("RedundantTargetPlatform", "no FROM has --platform=$TARGETPLATFORM", heads.redundant_target_platform, is_mended=True),
    Rule("SecretsUsedInArgOrEnv", "no secret is in ARG or ENV", bodies.secrets_used_in_arg_or_env),
    Rule("InvalidDefaultArgInFrom", "FROM names an image without --build-arg too", heads.invalid_default_arg_in_from),
    Rule(
        "FromPlatformFlagConstDisallowed",
        "--platform of FROM is no fixed platform",
        heads.from_platform_flag_const_disallowed,
    ),
    Rule("CopyIgnoredFile", "COPY and ADD name nothing that .dockerignore hides", bodies.copy_ignored_file),
    Rule(
        "InvalidDefinitionDescription",
        "the comment above ARG and FROM begins with the name that they define",
        heads.invalid_definition_description,
        is_experimental=True,
    ),
    Rule("ExposeProtoCasing", "protocols of EXPOSE are in lower case", bodies.expose_proto_casing, is_mended=True),
    Rule("ExposeInvalidFormat", "EXPOSE has no address and no port of the host", bodies.expose_invalid_format, is_mended=True),
)
BY_NAME = {rule.name: rule for rule in RULES}
