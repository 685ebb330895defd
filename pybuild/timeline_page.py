"""A timeline as one HTML page that needs nothing else: no script, no font, no picture from anywhere. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape

from pybuild.builder.events import MAKE, PACK
from pybuild.builder.records.explaining import Explained, Explanation, where
from pybuild.builder.records.history import CANCELED, FAILED, HIT, RAN, UNTOUCHED
from pybuild.explained import step_lines
from pybuild.progress.text import first_line, size
from pybuild.timeline import PULL, PUSH, Work, critical_path, ready

_MOST_TICKS = 10
_LAST_TOLD = 0.95
_SHORTEST = 1e-3
_WORDS = {MAKE: "made", PACK: "packed and compressed", PULL: "pulled", PUSH: "pushed"}
_STATES = {FAILED: "failed", CANCELED: "ended"}
_ENDS = {FAILED: "failed after", CANCELED: "broken off after"}
_KINDS = {"RunStep": "run", "CopyStep": "copy"}
_LEGEND = (
    ("run", "RUN"), ("copy", "COPY, ADD"), ("other", "other"), ("pack", "packing, compression"), ("pull", "pull"),
    ("push", "push"), ("wait", "waiting for a free worker"), ("hit", "hit"), ("critical", "critical path"),
)  # fmt: skip


def page(found: Explanation, works: Sequence[Work], *, total: float, now: float) -> str:
    """The page of one build, which took `total` seconds from start to end. `now` is seconds since 1970."""
    return "".join(f"{line}\n" for line in _Page(found, works, total, now).lines())


class _Page:
    def __init__(self, found: Explanation, works: Sequence[Work], total: float, now: float) -> None:
        self._found, self._works, self._now = found, works, now
        self._total = max(total, *(work.ended for work in works), _SHORTEST) if works else max(total, _SHORTEST)
        failed = {step.trace.number for step in found.steps if step.outcome.state == FAILED}
        self._path = critical_path(works, found.build.traces, failed=failed)
        self._critical = {id(work) for work in self._path}
        self._steps = {step.trace.number: step for step in found.steps}
        self._shown = [step for step in found.steps if step.trace.kind != "SourceStep"]

    def lines(self) -> Iterator[str]:
        title = escape(self._found.build.title)
        yield f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}: timeline</title>'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<style>{_STYLE}</style>\n</head>\n<body>"
        yield from self._head(title)
        yield from self._step_chart()
        yield from self._thread_chart()
        yield from self._path_table()
        yield from self._layer_table()
        yield "</body>\n</html>"

    def _head(self, title: str) -> Iterator[str]:
        build = self._found.build
        ran = sum(step.outcome.state in (RAN, FAILED) for step in self._shown)
        hits = sum(step.outcome.state == HIT for step in self._shown)
        packed = sum(work.size for work in self._works if work.action == PACK)
        waited = sum(work.seconds for work in self._path)
        yield f"<header><h1>{title}</h1>"
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(build.moment))
        result = f"image {escape(build.image[7:19])}" if build.image else '<b class="failed">failed</b>'
        yield f"<p>{escape(build.dockerfile)} · {when} · {result}</p>"
        for step in self._shown:
            if step.outcome.state == FAILED:
                error = first_line(step.outcome.error or "").removesuffix(f": {step.trace.name}")
                yield f"<p>{escape(where(step.trace))} {escape(step.trace.name)}: <b class='failed'>{escape(error)}</b></p>"
        yield "</header>"
        facts = [(_seconds(self._total), "from start to end"), (f"{ran}", "steps ran"), (f"{hits}", "hits")]
        if self._path:
            facts.append((_seconds(waited), "critical path"))
        if packed:
            facts.append((size(packed), "new layers, compressed"))
        yield '<div class="facts">' + "".join(f"<div><b>{big}</b><span>{small}</span></div>" for big, small in facts) + "</div>"
        yield '<div class="legend">' + "".join(f'<span><i class="{kind}"></i>{text}</span>' for kind, text in _LEGEND) + "</div>"

    # Charts

    def _step_chart(self) -> Iterator[str]:
        could_begin = ready(self._works, self._found.build.traces)
        yield '<section><h2>Steps</h2><div class="chart">' + self._axis()
        stage = None
        for step in self._shown:
            if step.trace.stage != stage:
                stage = step.trace.stage
                yield f'<div class="group">{escape(stage or "")}</div>' if stage else ""
            bars = [work for work in self._works if work.step == step.trace.number]
            made = next((work for work in bars if work.action == MAKE), None)
            inner = ""
            begin = could_begin.get(step.trace.number)
            if made is not None and begin is not None and made.started - begin > self._total / 500:
                wait = Work("wait", "", "", begin, made.started)
                inner += f'<i class="wait" style="{self._box(wait)}" title="waited {_seconds(wait.seconds)}"></i>'
            inner += "".join(self._bar(work, step) for work in bars)
            if not bars:
                inner += self._mark(step)
            yield self._row(self._label(step), inner, "\n".join(self._why(step)))
        transfers = [work for work in self._works if work.action in (PULL, PUSH)]
        if transfers:
            yield '<div class="group">transfers</div>'
        for work in transfers:
            yield self._row(f"<b>{work.action}</b> {escape(work.name)} <em>{size(work.size)}</em>", self._bar(work, None), "")
        yield "</div></section>"

    def _thread_chart(self) -> Iterator[str]:
        threads = list(dict.fromkeys(work.thread for work in self._works))
        if not threads:
            return
        yield '<section><h2>Threads</h2><div class="chart">' + self._axis()
        for thread in threads:
            works = [work for work in self._works if work.thread == thread]
            busy = sum(work.seconds for work in works)
            label = f"{escape(thread)} <em>{100 * busy / self._total:.0f} % busy</em>"
            bars = "".join(self._bar(work, self._steps.get(-1 if work.step is None else work.step), named=True) for work in works)
            yield self._row(label, bars, "")
        yield "</div></section>"

    def _axis(self) -> str:
        step = _tick(self._total)
        moments = [number * step for number in range(int(self._total / step) + 1)]
        # A mark at the very end has no room for its words.
        told = [moment for moment in moments if moment < self._total * _LAST_TOLD]
        ticks = "".join(f'<span style="left:{self._left(moment)}">{_axis_text(moment, step)}</span>' for moment in told)
        lines = "".join(f'<i style="left:{self._left(moment)}"></i>' for moment in moments)
        head = f'<div class="row axis"><div class="label"></div><div class="track">{ticks}</div></div>'
        return f'{head}<div class="grid">{lines}</div>'

    def _row(self, label: str, inner: str, hint: str) -> str:
        title = f' title="{escape(hint)}"' if hint else ""
        return f'<div class="row"><div class="label"{title}>{label}</div><div class="track">{inner}</div></div>'

    def _label(self, step: Explained) -> str:
        name = escape(" ".join(step.trace.name.split()))
        return f"<em>{escape(step.trace.place)}</em> {name}"

    def _why(self, step: Explained) -> list[str]:
        return step_lines(step, self._found, now=self._now)

    def _bar(self, work: Work, step: Explained | None, *, named: bool = False) -> str:
        kind = _KINDS.get(step.trace.kind, "other") if work.action == MAKE and step else work.action
        state = f" {_STATES[step.outcome.state]}" if step and step.outcome.state in _STATES else ""
        critical = " critical" if id(work) in self._critical else ""
        told = [
            f"{where(step.trace)} {step.trace.name}" if step else work.name,
            f"{_ENDS.get(step.outcome.state if step else '', f'{_WORDS[work.action]} in')} {_seconds(work.seconds)}",
        ]
        if work.action == PACK:
            told.append(f"{size(work.content)} of files, {size(work.size)} compressed")
        elif work.size:
            told.append(size(work.size))
        told.append(f"from {_seconds(work.started)} to {_seconds(work.ended)} on {work.thread}")
        text = _seconds(work.seconds) if not named else escape(where(step.trace)[1:-1] if step else work.name)
        wide = f"<s>{text}</s>" if work.seconds / self._total > (0.09 if named else 0.05) else ""
        hint = escape("\n".join(told))
        return f'<i class="{kind}{critical}{state}" style="{self._box(work)}" title="{hint}">{wide}</i>'

    def _mark(self, step: Explained) -> str:
        if step.outcome.state == HIT:
            maker = step.maker
            whose = "" if maker is None or maker.number == self._found.build.number else f" ← {escape(maker.title)}"
            return f'<u class="hit">hit{whose}</u>'
        return f'<u class="undone">{"not begun" if step.outcome.state == UNTOUCHED else step.outcome.state}</u>'

    def _left(self, moment: float) -> str:
        return f"{100 * max(0.0, moment) / self._total:.3f}%"

    def _box(self, work: Work) -> str:
        return f"left:{self._left(work.started)};width:{100 * work.seconds / self._total:.3f}%"

    # Tables

    def _path_table(self) -> Iterator[str]:
        if not self._path:
            return
        yield "<section><h2>Critical path</h2><p>What the end waited for: a build is faster only when one of these is.</p><table>"
        yield "<tr><th>step</th><th>what</th><th class='n'>began</th><th class='n'>took</th><th class='share'>share</th></tr>"
        for work in self._path:
            step = self._steps.get(-1 if work.step is None else work.step)
            name = f"<em>{escape(where(step.trace))}</em> {escape(step.trace.name)}" if step else escape(work.name)
            share = 100 * work.seconds / self._total
            kind = _KINDS.get(step.trace.kind, "other") if work.action == MAKE and step else work.action
            yield (
                f"<tr><td class='name'>{name}</td><td>{_WORDS[work.action]}</td><td class='n'>{_seconds(work.started)}</td>"
                f"<td class='n'>{_seconds(work.seconds)}</td>"
                f"<td class='share'><span><i class='{kind}' style='width:{share:.1f}%'></i></span> {share:.0f} %</td></tr>"
            )
        yield "</table></section>"

    def _layer_table(self) -> Iterator[str]:
        packed = [work for work in self._works if work.action == PACK and work.size]
        if not packed:
            return
        largest = max(work.size for work in packed)
        yield "<section><h2>New layers</h2><table>"
        heads = "".join(f"<th class='n'>{head}</th>" for head in ("files", "compressed", "rate"))
        yield f"<tr><th>step</th>{heads}<th class='share'></th></tr>"
        for work in packed:
            step = self._steps.get(-1 if work.step is None else work.step)
            name = f"<em>{escape(where(step.trace))}</em> {escape(step.trace.name)}" if step else ""
            rate = f"{size(work.content / work.seconds)}/s" if work.seconds > _SHORTEST and work.content else ""
            yield (
                f"<tr><td class='name'>{name}</td><td class='n'>{size(work.content)}</td><td class='n'>{size(work.size)}</td>"
                f"<td class='n'>{rate}</td>"
                f"<td class='share'><span><i class='pack' style='width:{100 * work.size / largest:.1f}%'></i></span></td></tr>"
            )
        yield "</table></section>"


def _tick(total: float) -> float:
    """Seconds between two marks of the axis: 1, 2 or 5 times a power of ten, for ten marks at most."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if total / (step * factor) <= _MOST_TICKS:
                return step * factor
        step *= 10


def _axis_text(moment: float, step: float) -> str:
    if step < 0.1 and moment < 1:
        return f"{moment * 1000:.0f} ms"
    return f"{moment:.{0 if step >= 1 else 1 if step >= 0.1 else 2}f} s"


def _seconds(count: float) -> str:
    if count < 1:
        return f"{count * 1000:.0f} ms" if count >= 0.01 else f"{count * 1000:.1f} ms"
    return f"{count:.2f} s" if count < 60 else f"{int(count // 60)} min {count % 60:.0f} s"


_STYLE = """
:root { color-scheme: light dark; --bg: #fff; --ink: #1c2733; --dim: #6b7885; --line: #e3e8ed; --row: #f6f8fa;
  --run: #3b7dd8; --copy: #2aa198; --other: #8a97a5; --pack: #e0a030; --pull: #6a9f3a; --push: #9867c5; --bad: #d0433b; }
@media (prefers-color-scheme: dark) { :root { --bg: #14191f; --ink: #dde4eb; --dim: #8b98a5; --line: #2a333d; --row: #1a2129;
  --run: #5b9bf0; --copy: #3fbfb2; --other: #75838f; --pack: #d99a2b; --pull: #83b552; --push: #b085dc; --bad: #ee6a5f; } }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { body { max-width: none; padding: 0; } .row, .facts div, tr { break-inside: avoid; }
  h2, .group { break-after: avoid; } .row.axis { position: static; } }
body { margin: 0 auto; padding: 28px 32px 48px; max-width: 1500px; background: var(--bg); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 16px; margin: 36px 0 10px; } p { color: var(--dim); margin: 4px 0 0; }
em { color: var(--dim); font-style: normal; } .failed { color: var(--bad); }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 14px; }
.facts div { background: var(--row); border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; }
.facts b { display: block; font-size: 19px; } .facts span { color: var(--dim); font-size: 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; color: var(--dim); font-size: 12px; }
.legend i { display: inline-block; width: 18px; height: 10px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
.chart { position: relative; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; overflow: clip; }
.row { display: grid; grid-template-columns: minmax(180px, 32%) 1fr; min-height: 30px; align-items: center; }
.row:nth-child(even) { background: var(--row); }
.label { padding: 0 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; font-size: 13px; cursor: default;
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.label em, td em { font-size: 12px; margin-right: 4px; }
.track { position: relative; height: 30px; margin-right: 18px; }
.track > i { position: absolute; top: 6px; height: 18px; min-width: 3px; border-radius: 4px; overflow: hidden; }
.track > i:hover { filter: brightness(1.12); outline: 2px solid var(--ink); z-index: 3; }
.track s { display: block; text-decoration: none; font: 11px/18px ui-monospace, monospace; padding: 0 6px; color: #fff;
  white-space: nowrap; }
.track u { text-decoration: none; font-size: 12px; position: absolute; top: 5px; left: 0; padding: 0 8px; border-radius: 10px;
  white-space: nowrap; }
u.hit { border: 1px solid var(--run); color: var(--run); } u.undone { color: var(--dim); }
.row.axis { position: sticky; top: 0; z-index: 4; background: var(--bg); } .axis .track { height: 26px; }
.axis span { position: absolute; top: 4px; font-size: 11px; white-space: nowrap; color: var(--dim); padding-left: 4px; }
.grid { position: absolute; inset: 0 18px 0 max(180px, 32%); pointer-events: none; }
.grid i { position: absolute; top: 0; bottom: 0; border-left: 1px solid var(--line); }
.group { padding: 12px 12px 3px; font-weight: 600; font-size: 13px; border-top: 1px solid var(--line); }
i.run { background: var(--run); } i.copy { background: var(--copy); } i.other { background: var(--other); }
i.pack { background: var(--pack); } i.pull { background: var(--pull); } i.push { background: var(--push); }
i.failed { background: var(--bad); } .track > i.ended { opacity: .45; }
i.wait, .track > i.wait { background: repeating-linear-gradient(135deg, var(--line) 0 4px, transparent 4px 8px); }
.track > i.wait { top: 11px; height: 8px; }
.legend i.hit { border: 1px solid var(--run); border-radius: 6px; }
.legend i.critical { background: none; border-bottom: 3px solid var(--bad); border-radius: 0; height: 8px; }
.track > i.critical { box-shadow: inset 0 -3px 0 var(--bad); }
table { border-collapse: collapse; width: 100%; } td, th { padding: 5px 12px; text-align: left; font-size: 13px; }
th { color: var(--dim); font-weight: 500; font-size: 12px; } tr + tr td { border-top: 1px solid var(--line); }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.name { font-family: ui-monospace, "DejaVu Sans Mono", monospace; max-width: 0; width: 46%; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.share { width: 22%; white-space: nowrap; } .share span { display: inline-block; width: 70%; height: 10px; border-radius: 5px;
  background: var(--row); overflow: hidden; vertical-align: 0; } .share i { display: block; height: 100%; }
"""
