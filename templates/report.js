// SPDX-License-Identifier: Apache-2.0
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const hosts = data.hosts;
  const severities = ["fail", "unknown", "warn", "ok"];
  const cellNames = {"F": "fail", "?": "unknown", "w": "warn", ".": "ok", "-": "none"};
  const cellWords = {"F": "fail", "?": "unknown", "w": "warning", ".": "ok", "-": "not asked"};
  const sign = (cell) => cell === "." ? "\u2713" : cell;
  const chunk = 150;

  /** An element; every text becomes a text node, so nothing in the data is ever markup. */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value != null)
        element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }
  const number = (value) => value.toLocaleString("en-US");
  const plural = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
  const seconds = (value) => value < 0.05 ? "" : `${value.toFixed(1)} s`;
  function bytes(value) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    for (; value >= 1000 && unit < units.length - 1; ++unit) value /= 1000;
    return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
  }
  /** The colour of a state: that of its verdict, and another where the host was not asked. */
  const notAsked = ["unreachable", "unknown", "skipped"];
  const tone = (host) => host.good ? "good" : notAsked.includes(host.state) ? "unknown" : "bad";
  /** An option of a command line is one word, though a hyphen is in it. */
  const prose = (text) => text.split(/(--[a-z][a-z-]*)/)
    .map((part, at) => at % 2 ? make("span", {class: "option"}, part) : part);
  /** A list of names has its breaks behind commas. */
  const listed = (text) => text.split(/(?<=,)/).flatMap((name) => [name, make("wbr")]);
  const leaveOut = (finding, name) => finding.fix +
    (finding.leave_out ? `${finding.fix ? ", or " : ""}leave the host out: --exclude ${name}` : "");

  for (const host of hosts) {
    host.counts = {fail: 0, unknown: 0, warn: 0, ok: 0};
    const words = [host.name, host.state, host.step, host.message];
    for (const index of host.findings) {
      const finding = data.findings[index];
      ++host.counts[finding.severity];
      if (finding.severity !== "ok")
        words.push(`${finding.severity} ${finding.rule}`, ...finding.ops, finding.because,
                   finding.fix);
    }
    host.words = words.join(" ").toLowerCase();
    host.said = host.message ? (host.step ? `at ${host.step}: ` : "") + host.message : "";
  }
  const byName = new Intl.Collator("en", {numeric: true}).compare;
  hosts.map((_, at) => at).sort((a, b) => byName(hosts[a].name, hosts[b].name))
    .forEach((at, place) => { hosts[at].place = place; });

  // What the filter, the chips and the groups leave, and in which order.
  const chosen = {state: null, group: null, words: []};
  const shown = {list: [], rows: 0};

  const columns = [
    {title: "Host", key: (host) => host.place},
    {title: "State", key: (host) => host.rank},
    {title: "Fail", key: (host) => host.counts.fail, class: "number", most: true},
    {title: "Unknown", key: (host) => host.counts.unknown, class: "number", most: true},
    {title: "Warn", key: (host) => host.counts.warn, class: "number", most: true},
    {title: "Message", key: (host) => host.said},
    {title: "Time", key: (host) => host.seconds, class: "number", most: true},
    {title: "Sent", key: (host) => host.sent_bytes, class: "number", most: true,
     absent: hosts.every((host) => !host.sent_bytes)},
  ].filter((column) => !column.absent);
  const sort = {column: columns[1], down: false};

  function header() {
    const bad = hosts.some((host) => !host.good) || data.exit !== 0;
    const facts = make("dl", {class: "facts"});
    const fact = (name, ...values) => {
      if (values.length) facts.append(make("dt", {}, name), make("dd", {}, ...values));
    };
    for (const wheel of data.wheels) {
      fact("Wheel", make("code", {}, wheel.file),
           make("span", {class: "muted"}, ` ${wheel.size}, sha256 ${wheel.sha256.slice(0, 12)}`));
      if (wheel.ops.length) fact("Ops", make("code", {}, wheel.ops.join(", ")));
      if (wheel.hosts) fact("For", make("code", {}, wheel.hosts));
    }
    fact("Environment", make("code", {}, data.environment));
    for (const text of data.left_out) fact("Left out", text);
    for (const text of data.notes) fact("Note", text);
    const stages = Object.entries(data.seconds).filter(([, spent]) => spent >= 0.05)
      .map(([stage, spent]) => `, ${stage} ${seconds(spent)}`);
    fact("Run", make("code", {}, data.run), make("span", {class: "muted"}, stages.join("")));
    const bar = make("div", {class: "bar", "aria-hidden": "true"});
    const chips = make("div", {class: "chips", role: "group", "aria-label": "Filter by state"});
    for (const each of data.states) {
      const part = make("i", {class: tone(each)});
      part.style.flexGrow = each.count;
      bar.append(part);
      chips.append(make("button", {
        type: "button", "aria-pressed": "false", "data-state": each.state,
        onclick: () => choose({state: chosen.state === each.state ? null : each.state}),
      }, make("span", {class: tone(each)}, "\u25CF "), `${number(each.count)} ${each.state}`));
    }
    const verdict = data.verdict.replace(/\d+/g, (digits) => number(Number(digits)));
    document.getElementById("top").replaceChildren(
      make("p", {class: "command"}, `ds-deploy ${data.command}`,
           data.dry_run ? " \u00B7 nothing was changed" : ""),
      make("div", {class: bad ? "verdict bad" : "verdict"},
           make("h1", {}, verdict.charAt(0).toUpperCase() + verdict.slice(1)),
           make("p", {class: "muted"}, `Exit status ${data.exit}`)),
      bar, chips, facts);
  }

  function findingItem(finding, fix, names) {
    const ops = finding.ops.filter((op) => !finding.because.includes(op));
    return make("li", {},
      make("span", {}, make("span", {class: `badge ${finding.severity}`}, finding.severity)),
      make("span", {}, make("code", {}, finding.rule),
           ops.length ? make("span", {class: "muted small"}, ` ${ops.join(", ")}`) : null),
      make("div", {}, names, make("p", {}, finding.because),
           fix ? make("p", {class: "fix"}, ...prose(fix)) : null));
  }

  function findingsSection() {
    const list = make("ul", {class: "findings"});
    const numberOf = {fail: 0, unknown: 0, warn: 0, ok: 0};
    const most = 200;
    data.findings.forEach((finding, index) => {
      ++numberOf[finding.severity];
      if (finding.severity === "ok" || list.childElementCount >= most) return;
      const only = () => choose({group: {
        label: `${finding.severity} ${finding.rule}: ${finding.hosts}`,
        members: new Set(hosts.filter((host) => host.findings.includes(index))),
      }}, true);
      list.append(findingItem(finding, finding.fix_for_all, make("button", {
        type: "button", class: "plain hosts", title: "Show these hosts", onclick: only,
      }, ...listed(finding.hosts))));
    });
    const told = severities.slice(0, 3).filter((severity) => numberOf[severity])
      .map((severity) => `${number(numberOf[severity])} ${severity}`).join(", ");
    return make("section", {id: "findings"},
      make("div", {class: "title"}, make("h2", {}, "Findings"),
           make("span", {class: "muted"}, told || "nothing stands against any host")), list,
      list.childElementCount >= most
        ? make("p", {class: "muted"}, `The first ${most}; the others are with their hosts.`)
        : null);
  }

  function matrixTable(grid) {
    const head = make("tr", {}, make("th", {scope: "col", class: "lead"}, "Hosts"),
                      make("th", {scope: "col", class: "lead"}, "State"));
    for (const name of grid.columns)
      head.append(make("th", {scope: "col"}, make("span", {}, name)));
    const body = make("tbody");
    for (const row of grid.rows.slice(0, 200)) {
      const only = () => choose({group: {
        label: row.hosts, members: new Set(row.members.map((at) => hosts[at])),
      }}, true);
      const line = make("tr", {},
        make("th", {scope: "row"}, make("button", {
          type: "button", class: "plain hosts", title: "Show these hosts", onclick: only,
        }, ...listed(row.hosts))),
        make("td", {}, make("span", {class: `badge ${tone(row)}`}, row.state)));
      [...row.cells].forEach((cell, at) => {
        const words = `${grid.columns[at]}: ${cellWords[cell]}`;
        line.append(make("td", {class: "cell", title: words},
          make("b", {class: cellNames[cell], "aria-hidden": "true"}, sign(cell)),
          make("span", {class: "hidden"}, cellWords[cell])));
      });
      body.append(line);
    }
    return make("table", {class: "matrix"}, make("thead", {}, head), body);
  }

  function matrixSection() {
    const place = make("div", {class: "scroll", tabindex: "0", role: "region",
                               "aria-label": "Matrix"});
    const legend = make("p", {class: "legend small muted"});
    for (const cell of ["F", "?", "w", ".", "-"]) {
      legend.append(make("span", {}, make("b", {class: cellNames[cell]}, sign(cell)),
                         ` ${cellWords[cell]}`));
    }
    const buttons = [["rules", "by rule"], ["ops", "by op"]].map(([which, title]) =>
      make("button", {type: "button", "aria-pressed": "false", "data-grid": which,
                      onclick: () => show(which)}, title));
    function show(which) {
      place.replaceChildren(matrixTable(data.grids[which]));
      for (const button of buttons)
        button.setAttribute("aria-pressed", String(button.dataset.grid === which));
    }
    show("rules");
    const rows = data.grids.rules.rows.length;
    return make("section", {id: "matrix"},
      make("div", {class: "title"}, make("h2", {}, "Matrix"),
           make("span", {class: "muted"}, `${plural(hosts.length, "host")}, ` +
                `${number(rows)} different ${rows === 1 ? "result" : "results"}`),
           ...(data.grids.ops.columns.length ? buttons : [])), place, legend);
  }

  // The table of hosts. Rows are made as they are needed: 4,000 at once would take the page's time.
  const filter = make("input", {
    id: "filter", type: "search", spellcheck: "false", autocomplete: "off",
    placeholder: "Filter: name, state, rule, words", "aria-label": "Filter hosts",
    "aria-keyshortcuts": "/",
    oninput: () => choose({words: filter.value.toLowerCase().split(/\s+/).filter(Boolean)}),
  });
  const told = make("span", {class: "muted", role: "status", id: "told"});
  const group = make("button", {type: "button", id: "group", hidden: true,
                                onclick: () => { choose({group: null}); filter.focus(); }});
  const body = make("tbody");
  const more = make("button", {type: "button", onclick: () => addRows(hosts.length)});
  const moreLine = make("p", {class: "more"}, more);
  const heads = columns.map((column) => make("th", {scope: "col", class: column.class},
    make("button", {type: "button", onclick: () => sortBy(column)}, column.title)));

  function hostsSection() {
    return make("section", {id: "hosts"},
      make("div", {class: "tools"}, make("h2", {}, "Hosts"), filter, told, group),
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body), moreLine);
  }

  const buttonOf = (row) => row && row.querySelector("button");
  const hostRows = () => body.getElementsByClassName("host");

  function row(host) {
    const button = make("button", {type: "button", class: "name", "aria-expanded": "false",
                                   tabindex: "-1"}, host.name);
    const cells = columns.slice(1).map((column) => {
      if (column.title === "State")
        return make("td", {}, make("span", {class: `badge ${tone(host)}`},
                                  host.left_out ? `${host.state}, left out` : host.state));
      if (column.title === "Message")
        return make("td", {class: "said"}, make("span", {}, ...prose(host.said)));
      if (column.title === "Time") return make("td", {class: "number"}, seconds(host.seconds));
      if (column.title === "Sent")
        return make("td", {class: "number"}, host.sent_bytes ? bytes(host.sent_bytes) : "");
      const value = column.key(host);
      return make("td", {class: value ? `number ${column.title.toLowerCase()}` : "number zero"},
                  value ? number(value) : "\u2013");
    });
    const line = make("tr", {class: "host"}, make("th", {scope: "row"}, button), ...cells);
    line.host = host;
    return line;
  }

  function addRows(count) {
    const from = shown.rows;
    shown.rows = Math.min(shown.list.length, from + count);
    body.append(...shown.list.slice(from, shown.rows).map(row));
    if (from === 0 && shown.rows) buttonOf(body.firstElementChild).tabIndex = 0;
    moreLine.hidden = shown.rows === shown.list.length;
    more.textContent = `Show all ${number(shown.list.length)} rows`;
  }

  function draw() {
    const {column, down} = sort;
    const turn = down ? -1 : 1;
    shown.list = hosts.filter((host) => (!chosen.state || host.state === chosen.state) &&
      (!chosen.group || chosen.group.members.has(host)) &&
      chosen.words.every((word) => host.words.includes(word)));
    const keys = new Map(shown.list.map((host) => [host, column.key(host)]));
    shown.list.sort((a, b) => {
      const left = keys.get(a), right = keys.get(b);
      const order = typeof left === "string" ? byName(left, right) : left - right;
      return order * turn || a.place - b.place;
    });
    shown.rows = 0;
    body.replaceChildren();
    addRows(chunk);
    heads.forEach((head, at) => {
      if (columns[at] === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    told.textContent = shown.list.length === hosts.length ? plural(hosts.length, "host")
      : `${number(shown.list.length)} of ${plural(hosts.length, "host")}`;
    group.hidden = !chosen.group;
    group.textContent = chosen.group ? `${chosen.group.label} \u2715` : "";
    group.setAttribute("aria-label",
                       chosen.group ? `Only ${chosen.group.label}: show all again` : "");
    for (const chip of document.querySelectorAll("[data-state]"))
      chip.setAttribute("aria-pressed", String(chip.dataset.state === chosen.state));
  }

  function choose(change, jump) {
    Object.assign(chosen, change);
    draw();
    if (jump) {
      document.getElementById("hosts").scrollIntoView();
      focusRow(hostRows()[0]);
    }
  }

  function sortBy(column) {
    sort.down = sort.column === column ? !sort.down : Boolean(column.most);
    sort.column = column;
    draw();
  }

  function detail(host) {
    const bad = make("ul", {class: "findings inside"});
    const good = make("ul", {class: "findings inside"});
    for (const index of host.findings) {
      const finding = data.findings[index];
      (finding.severity === "ok" ? good : bad).append(
        findingItem(finding, leaveOut(finding, host.name), null));
    }
    const facts = make("dl", {class: "facts"});
    const fact = (name, value) => {
      if (value) facts.append(make("dt", {}, name), make("dd", {}, value));
    };
    fact("Same environment as", host.same_as);
    fact("Self-tests", host.self_tests.join("; "));
    fact("Active release", host.release && make("code", {}, host.release));
    const count = good.childElementCount;
    return make("tr", {class: "detail"}, make("td", {colspan: columns.length}, bad,
      count ? make("details", {}, make("summary", {}, `${plural(count, "finding")} ok`), good)
            : null,
      facts.childElementCount ? facts : null,
      host.findings.length ? null
        : make("p", {class: "muted"}, "The audit has nothing on this host.")));
  }

  function toggle(line) {
    const open = line.classList.toggle("open");
    buttonOf(line).setAttribute("aria-expanded", String(open));
    if (open) line.after(detail(line.host));
    else line.nextElementSibling.remove();
  }

  function focusRow(line) {
    const button = buttonOf(line);
    if (!button) return;
    for (const other of body.querySelectorAll('.host button[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
    line.scrollIntoView({block: "nearest"});
  }

  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr.host");
    if (!line || (String(getSelection()) && !event.target.closest("button"))) return;
    toggle(line);
    focusRow(line);
  });
  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr.host");
    if (!line || event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = hostRows();
    const at = [...rows].indexOf(line);
    if (event.key === "End" || (event.key === "ArrowDown" && at === rows.length - 1))
      addRows(event.key === "End" ? hosts.length : chunk);
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0) filter.focus();
    else focusRow(rows[to]);
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && filter.value) {
      filter.value = "";
      choose({words: []});
      event.preventDefault();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      focusRow(hostRows()[0]);
      event.preventDefault();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    filter.focus();
    filter.select();
  });
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) addRows(chunk);
  }, {rootMargin: "600px"}).observe(moreLine);
  window.addEventListener("beforeprint", () => addRows(hosts.length));

  const text = document.getElementById("text");
  header();
  text.before(findingsSection(), matrixSection(), hostsSection());
  text.open = false;
  document.body.append(make("footer", {class: "muted small"}, make("p", {class: "keys"},
    make("kbd", {}, "/"), " filter  ", make("kbd", {}, "\u2191"), " ",
    make("kbd", {}, "\u2193"), " ", make("kbd", {}, "Home"), " ", make("kbd", {}, "End"),
    " rows  ", make("kbd", {}, "Enter"), " opens a row or sorts by a heading"),
    `ds-deploy ${data.version}`));
  draw();
  document.documentElement.dataset.ready = "true";
})();
