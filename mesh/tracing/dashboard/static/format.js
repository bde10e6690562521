// Numbers and times, as short as they stay true.

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const size = Math.abs(seconds);
  if (size === 0) return "0";
  if (size < 0.000_999_5) return `${digits(seconds * 1e6)} µs`;
  if (size < 0.999_5) return `${digits(seconds * 1e3)} ms`;
  if (size < 99.95) return `${digits(seconds)} s`;
  return span(seconds);
}

// In two units at most, as 3 m 05 s.
export function span(seconds) {
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} m`;
  return `${Math.floor(whole / 86_400)} d ${two(Math.floor(whole / 3600) % 24)} h`;
}

// Three digits that matter.
export function digits(number) {
  const size = Math.abs(number);
  if (size >= 99.95) return Math.round(number).toLocaleString("en");
  if (size >= 9.995) return number.toFixed(1);
  return number.toFixed(2);
}

// Of the number of an axis: without digits that say nothing.
export function rounded(text) {
  return text.replace(/\.0+(?= |$)/, "");
}

export function rate(number) {
  if (!Number.isFinite(number)) return "–";
  return number === 0 ? "0" : number < 0.01 ? "<0.01" : digits(number);
}

export function share(part) {
  if (!Number.isFinite(part) || part <= 0) return "0 %";
  const percent = part * 100;
  return percent < 0.1 ? "<0.1 %" : percent >= 99.95 ? "100 %" : `${percent >= 9.95 ? Math.round(percent) : percent.toFixed(1)} %`;
}

export function count(number) {
  return Number.isFinite(number) ? Math.round(number).toLocaleString("en") : "–";
}

export function size(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  for (const [unit, step] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= step) return `${digits(bytes / step)} ${unit}`;
  }
  return `${bytes} B`;
}

export function clock(seconds) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return "–";
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const today = new Date();
  const same = date.toDateString() === today.toDateString();
  return same ? time : `${day} ${time}`;
}

export function called(service, method) {
  return service ? `${service}.${method}` : method || "–";
}
