// Before the first paint: the theme that was chosen, or the system's, so that no other one flashes by.
{
  let theme = null;
  try {
    theme = localStorage.getItem('tidegate.theme');
  } catch {
    // Storage may be forbidden; the system's theme is used then.
  }
  const isDark = theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
}
