// SPDX-License-Identifier: Apache-2.0
// What the explorer shares: numbers, CSV, files to download.
"use strict";

function shown(value, digits) {
  if (value === undefined || value === null) return "–";
  if (typeof value !== "number") return value;
  const places = Number.isInteger(value) && digits === undefined ? 0 : digits ?? 3;
  return value.toLocaleString("en", {minimumFractionDigits: digits === undefined ? 0 : places,
                                     maximumFractionDigits: places})
    .replaceAll(",", "\u202f").replace("-", "−");
}

function csvText(head, rows) {
  const cell = (value) => {
    const text = value === undefined || value === null ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [head, ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
}

function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function element(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children);
  return found;
}
