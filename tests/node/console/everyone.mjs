// What holds of every page in every shape: on a phone and on a desk, light and dark.

import assert from "node:assert/strict";
import { picture, setTheme, violations } from "./browser.mjs";

const THEMES = ["light", "dark"];
const SIZES = [[360, 780], [1280, 1400]];

/** Runs in the page: nothing is wider than the screen, or than the dialog or the form that it is in. */
const fits = () => [document.documentElement, ...document.querySelectorAll("dialog[open], dialog[open] form")].every((box) => box.scrollWidth <= Math.min(innerWidth, box.clientWidth));

/** Axe finds nothing, and nothing is wider than the screen or its dialog, on a phone and on a desk, light and dark. */
export async function isForEveryone(page, name) {
  const before = page.viewportSize();
  for (const theme of THEMES) {
    await setTheme(page, theme);
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume))));
      // The rail comes and goes with the width.
      await page.waitForFunction(() => !document.getAnimations().some((one) => one instanceof CSSTransition));
      await picture(page, `${name}-${width}-${theme}`);
      assert.ok(await page.evaluate(fits), `${name} does not fit ${width} px`);
    }
    assert.deepEqual(await violations(page, theme), [], `${name} ${theme}`);
  }
  await setTheme(page, "light");
  await page.setViewportSize(before);
}
