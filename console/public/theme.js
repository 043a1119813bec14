// Before the first paint: a chosen theme does not flash through the system's.
try {
  const theme = localStorage.getItem('tidegate.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's theme is used then.
}
