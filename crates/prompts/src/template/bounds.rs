//! Bounds the memory and time of a chat template. minijinja limits the number of instructions, but not what
//! they build: a string that is concatenated with itself thirty times is a billion times as long. So each
//! instruction that builds a string or a list is followed by one that counts its size, and what could grow in
//! a single step is counted before it. Comparisons are counted as well: nested lists take as long to compare
//! as all their elements, however few instructions built them.
//!
//! This inserts into minijinja's own instructions, which it exposes as an unstable interface; its version is
//! pinned for that.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use minijinja::machinery::{self, CodeGenerator, Instruction, Instructions, Token};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::too_much;
use crate::limits::{BUILT_BYTES_MAX, TEMPLATE_PRODUCTS_MAX, WRITTEN_BYTES_MAX};

/// How many bytes of strings are compared in the time that it takes to build one.
const COMPARED_BYTES: usize = 64;
/// How much longer it takes to visit a value than to build as many bytes of a string.
const COMPARED_VALUE: usize = 8;
/// How often each element is assumed to be compared when a list is sorted.
const ORDERED: usize = 16;
/// The overhead of a value in a list or an object.
const VALUE_BYTES: usize = 64;
const DEEPEST: usize = 64;
/// Filter names that no template can write.
const KEPT: &str = "~";
const FLAT: &str = "~~";
const COMPARED: &str = "~=";
const SEARCHED: &str = "~?";
/// The id of a filter that is looked up by name each time.
const ANY: u8 = !0;

thread_local! {
    /// The bytes built so far by the rendering that runs on this thread.
    static BUILT: Cell<usize> = const { Cell::new(0) };
}

/// A compiled template, with the counting instructions inserted.
pub(super) struct Program<'s> {
    steps: Instructions<'s>,
    blocks: BTreeMap<&'s str, Instructions<'s>>,
}

/// The size of a value.
struct Weight {
    bytes: usize,
    /// How many bytes of a string count as one.
    text_share: usize,
}

impl<'s> Program<'s> {
    pub(super) fn read(name: &'s str, source: &'s str, syntax: SyntaxConfig) -> Result<Self, Error> {
        let tokens = machinery::tokenize(source, false, syntax.clone());
        // For invalid source the lexer yields errors without end; the parser below reports it.
        let tokens = tokens.map_while(Result::ok);
        if tokens.filter(|(token, _)| matches!(token, Token::Mul)).count() > TEMPLATE_PRODUCTS_MAX {
            return refuse(format!("it has more than {TEMPLATE_PRODUCTS_MAX} products"));
        }
        let parsed = machinery::parse(source, name, syntax)?;
        let mut writer = CodeGenerator::new(name, source);
        writer.compile_stmt(&parsed);
        let (steps, blocks) = writer.finish();
        let weighed = |(name, steps): (_, Instructions<'s>)| (name, weighed(&steps));
        Ok(Self { steps: self::weighed(&steps), blocks: blocks.into_iter().map(weighed).collect() })
    }

    pub(super) fn run<'e>(&'e self, environment: &'e Environment<'e>, given: Value) -> Result<String, Error>
    where
        's: 'e,
    {
        BUILT.set(0);
        let mut text = String::new();
        let mut out = machinery::make_string_output(&mut text);
        machinery::eval(environment, &self.steps, given, &self.blocks, &mut out, AutoEscape::None)?;
        Ok(text)
    }
}

/// Inserts the counting instructions.
fn weighed<'s>(steps: &Instructions<'s>) -> Instructions<'s> {
    let mut all = Instructions::new(steps.name(), steps.source());
    let mut offsets = Vec::new();
    let (mut at, mut next) = (0, 0);
    while let Some(step) = steps.get(at) {
        let (before, step, behind) = with_weighing(step);
        offsets.push(next);
        for step in before.into_iter().chain([step]).chain(behind) {
            next = match steps.get_line(at).and_then(|line| u16::try_from(line).ok()) {
                Some(line) => all.add_with_line(step, line),
                None => all.add(step),
            } + 1;
        }
        at += 1;
    }
    offsets.push(next);
    let moved = |target: &mut u32| {
        if let Some(moved) = offsets.get(*target as usize) {
            *target = *moved;
        }
    };
    for index in 0..next {
        use Instruction::{BuildMacro, Iterate, Jump, JumpIfFalse, JumpIfFalseOrPop, JumpIfTrueOrPop};
        if let Some(
            Jump(to)
            | JumpIfFalse(to)
            | JumpIfFalseOrPop(to)
            | JumpIfTrueOrPop(to)
            | Iterate(to)
            | BuildMacro(_, to, _),
        ) = all.get_mut(index)
        {
            moved(to);
        }
    }
    all
}

type Steps<'s> = Vec<Instruction<'s>>;

fn with_weighing<'s>(step: &Instruction<'s>) -> (Steps<'s>, Instruction<'s>, Steps<'s>) {
    use Instruction::{
        Add, ApplyFilter, CallFunction, CallMethod, CallObject, CompareAndPreserve, Emit, EmitRaw, Eq, Gt,
        Gte, In, LoadConst, Lt, Lte, Mul, Ne, Slice, StringConcat, Swap,
    };
    let kept = || vec![ApplyFilter(KEPT, Some(1), ANY)];
    let flat = || ApplyFilter(FLAT, Some(1), ANY);
    let compared = || ApplyFilter(COMPARED, Some(1), ANY);
    let searched = || ApplyFilter(SEARCHED, Some(1), ANY);
    match step {
        // Literal text is counted like the rest.
        EmitRaw(text) => (vec![LoadConst(Value::from(*text))], Emit, vec![]),
        StringConcat => (vec![flat(), Swap, flat(), Swap], StringConcat, kept()),
        In => (vec![searched(), Swap, flat(), Swap], In, vec![]),
        Eq | Ne | Lt | Lte | Gt | Gte | CompareAndPreserve(_) => {
            (vec![compared(), Swap, compared(), Swap], step.clone(), vec![])
        }
        // Evaluated when the template was parsed.
        LoadConst(value) if is_many(value.kind()) && !value.is_kwargs() => (vec![], step.clone(), kept()),
        Add | Mul | Slice | ApplyFilter(..) | CallFunction(..) | CallMethod(..) | CallObject(..) => {
            (vec![], step.clone(), kept())
        }
        other => (vec![], other.clone(), vec![]),
    }
}

fn refuse<T>(why: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, why))
}

/// Counts what is built.
fn build(bytes: usize) -> Result<(), Error> {
    let built = BUILT.get().saturating_add(bytes);
    BUILT.set(built);
    if built > BUILT_BYTES_MAX {
        return refuse(format!("it builds more than {BUILT_BYTES_MAX} bytes"));
    }
    Ok(())
}

const fn is_many(kind: ValueKind) -> bool {
    matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
}

/// The bytes of a value, with its elements, when it is written as text.
pub(super) fn weigh(value: &Value) -> Result<usize, Error> {
    weighed_by(value, 1)
}

fn weighed_by(value: &Value, text_share: usize) -> Result<usize, Error> {
    let mut weight = Weight { bytes: 0, text_share };
    weight.add(value, 0)?;
    Ok(weight.bytes)
}

impl Weight {
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.bytes =
            self.bytes.saturating_add(VALUE_BYTES + value.as_str().map_or(0, str::len) / self.text_share);
        if self.bytes > WRITTEN_BYTES_MAX || depth > DEEPEST {
            return refuse(format!(
                "it writes more than {WRITTEN_BYTES_MAX} bytes out of lists, or lists within lists"
            ));
        }
        // An iterator without a length produces its elements on demand, and once.
        if !is_many(value.kind()) || value.len().is_none() {
            return Ok(());
        }
        for part in value.try_iter()? {
            if value.kind() == ValueKind::Map {
                self.add(&value.get_item(&part)?, depth + 1)?;
            }
            self.add(&part, depth + 1)?;
        }
        Ok(())
    }
}

/// Counts a result; returns it unchanged.
fn kept(value: Value) -> Result<Value, Error> {
    let bytes = match value.as_str() {
        Some(text) if text.len() > WRITTEN_BYTES_MAX => return refuse(too_much()),
        Some(text) => text.len(),
        None if is_many(value.kind()) => value.len().unwrap_or(0).saturating_mul(VALUE_BYTES),
        None => 0,
    };
    build(bytes)?;
    Ok(value)
}

/// Checks a value that becomes part of a string; returns it unchanged.
fn flat(value: Value) -> Result<Value, Error> {
    if is_many(value.kind()) {
        weigh(&value)?;
    }
    Ok(value)
}

/// Counts a value that is compared; returns it unchanged. Most comparisons in templates are of short values
/// and cost nothing.
fn compared(value: Value) -> Result<Value, Error> {
    count_compared(&value, 1)?;
    Ok(value)
}

/// Counts the container of an `in` test; returns it unchanged. Keys of an object are looked up by hash.
fn searched(value: Value) -> Result<Value, Error> {
    if value.kind() != ValueKind::Map {
        count_compared(&value, 1)?;
    }
    Ok(value)
}

fn count_compared(value: &Value, times: usize) -> Result<(), Error> {
    let work = match value.as_str() {
        Some(text) => text.len() / COMPARED_BYTES,
        None if is_many(value.kind()) => {
            weighed_by(value, COMPARED_BYTES * COMPARED_VALUE)?.saturating_mul(COMPARED_VALUE)
        }
        None => 0,
    };
    build(work.saturating_mul(times))
}

fn compares(given: &[Value]) -> Result<(), Error> {
    given.iter().try_for_each(|value| count_compared(value, 1))
}

fn orders(given: &[Value]) -> Result<(), Error> {
    given.first().map_or(Ok(()), |value| count_compared(value, ORDERED))
}

/// Replaces filters and methods that can build or compare more in one step than they are given by versions
/// that check first.
pub(super) fn hold(environment: &mut Environment<'_>) {
    use minijinja::filters;
    environment.add_filter(KEPT, kept);
    environment.add_filter(FLAT, flat);
    environment.add_filter(COMPARED, compared);
    environment.add_filter(SEARCHED, searched);
    hold_tests(environment);
    let guarded: [(&'static str, Value, Check); 15] = [
        ("sort", Value::from_function(filters::sort), orders),
        ("unique", Value::from_function(filters::unique), orders),
        ("min", Value::from_function(filters::min), orders),
        ("max", Value::from_function(filters::max), orders),
        ("groupby", Value::from_function(filters::groupby), orders),
        ("dictsort", Value::from_function(filters::dictsort), orders),
        ("replace", Value::from_function(filters::replace), replaces),
        ("join", Value::from_function(filters::join), joins),
        ("indent", Value::from_function(filters::indent), indents),
        ("batch", Value::from_function(filters::batch), fills),
        ("slice", Value::from_function(filters::slice), fills),
        ("sum", Value::from_function(filters::sum), takes_all),
        ("map", Value::from_function(filters::map), takes_all),
        ("pprint", Value::from_function(filters::pprint), takes_all),
        ("format", Value::from_function(filters::format), pads),
    ];
    for (name, does, check) in guarded {
        environment.add_filter(name, move |state: &mut State<'_, '_>, given: Rest<ValueOrKwargs>| {
            let given = given.into_values();
            check(&given)?;
            does.call(state, &given)
        });
    }
    environment.set_unknown_method_callback(|state, value, method, given| {
        let value_first = || [std::slice::from_ref(value), given].concat();
        match method {
            "replace" => replaces(&value_first())?,
            "format" => pads(&value_first())?,
            // The arguments are in the reverse order of the filter's.
            "join" => joins(&[given, std::slice::from_ref(value)].concat())?,
            _ => {}
        }
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, given)
    });
}

/// The tests that compare, under each of their names: `select` and the like call them once for each element.
fn hold_tests(environment: &mut Environment<'_>) {
    use minijinja::tests;
    let comparing: [(&[&'static str], Value); 7] = [
        (&["eq", "equalto", "=="], Value::from_function(tests::is_eq)),
        (&["ne", "!="], Value::from_function(tests::is_ne)),
        (&["lt", "lessthan", "<"], Value::from_function(tests::is_lt)),
        (&["le", "<="], Value::from_function(tests::is_le)),
        (&["gt", "greaterthan", ">"], Value::from_function(tests::is_gt)),
        (&["ge", ">="], Value::from_function(tests::is_ge)),
        (&["in"], Value::from_function(tests::is_in)),
    ];
    for (names, does) in comparing {
        for name in names {
            let does = does.clone();
            environment.add_test(*name, move |state: &mut State<'_, '_>, given: Rest<Value>| {
                compares(&given)?;
                Ok::<_, Error>(does.call(state, &given)?.is_true())
            });
        }
    }
}

/// A check before a filter runs, on its arguments with the filtered value first.
type Check = fn(&[Value]) -> Result<(), Error>;

/// All arguments after the filtered value, named or positional.
fn settings(given: &[Value]) -> impl Iterator<Item = Value> {
    given.iter().skip(1).flat_map(|value| {
        if !value.is_kwargs() {
            return vec![value.clone()];
        }
        let names = value.try_iter().into_iter().flatten();
        names.filter_map(|name| value.get_item(&name).ok()).collect()
    })
}

fn largest(given: &[Value]) -> usize {
    settings(given).filter_map(|value| value.as_usize()).max().unwrap_or(0)
}

fn replaces(given: &[Value]) -> Result<(), Error> {
    let [Some(text), Some(from), Some(to)] = [0, 1, 2].map(|at| given.get(at)) else { return Ok(()) };
    let [text, from, to] = [as_text(text)?, as_text(from)?, as_text(to)?];
    build(text.len().saturating_add(text.matches(&*from).count().saturating_mul(to.len())))
}

/// A value as text, as filters see it.
fn as_text(value: &Value) -> Result<Cow<'_, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    weigh(value)?;
    Ok(Cow::Owned(value.to_string()))
}

fn joins(given: &[Value]) -> Result<(), Error> {
    let Some(value) = given.first() else { return Ok(()) };
    let between = settings(given).filter_map(|value| value.as_str().map(str::len)).max().unwrap_or(0);
    let parts = value.as_str().map(str::len).or_else(|| value.len()).unwrap_or(0);
    build(weigh(value)?.saturating_add(parts.saturating_mul(between)))
}

fn indents(given: &[Value]) -> Result<(), Error> {
    let Some(text) = given.first().and_then(Value::as_str) else { return Ok(()) };
    let lines = text.matches('\n').count() + 1;
    build(text.len().saturating_add(lines.saturating_mul(largest(given))))
}

fn fills(given: &[Value]) -> Result<(), Error> {
    build(largest(given).saturating_mul(VALUE_BYTES))
}

fn takes_all(given: &[Value]) -> Result<(), Error> {
    given.first().map_or(Ok(()), |value| weigh(value).map(drop))
}

/// Refuses format strings with absurd widths.
fn pads(given: &[Value]) -> Result<(), Error> {
    let form = given.first().and_then(Value::as_str).unwrap_or_default();
    if form.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.len() > 4) {
        return refuse("it pads a text too far".to_owned());
    }
    // The width may be an argument.
    if form.contains('*') && largest(given) > 9_999 {
        return refuse("it pads a text too far".to_owned());
    }
    settings(given).try_for_each(|value| weigh(&value).map(drop))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Template;

    /// The peak memory of this process in MiB.
    fn peak() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? / 1024)
    }

    fn check(source: &str) {
        let before = peak();
        let excerpt: String = source.chars().take(120).collect();
        let rendered = Template::new(source).and_then(|template| template.render(&json!({}), 0));
        let error = rendered.expect_err(&excerpt).to_string();
        let messages = ["builds more than", "writes more than", "pads a text too far", "products"];
        assert!(messages.iter().any(|messages| error.contains(messages)), "{excerpt}: {error}");
        if let (Some(before), Some(after)) = (before, peak()) {
            assert!(after < before.max(1024), "{excerpt}: {after} MiB after {before}");
        }
    }

    #[test]
    fn a_text_that_is_joined_to_itself_again_and_again_ends_in_an_error() {
        for step in [
            "x ~ x",
            "x + x",
            "x * 2",
            "x | replace('h', 'hhhhhhhhhhhhhhhhhhhhhhhhhh')",
            "x.replace('h', 'hhhhhhhhhhhhhhhhhhhhhhhhhh')",
            "','.join([x, x])",
            "[x, x] | join",
            "'%s%s' | format(x, x)",
            "'{}{}'.format(x, x)",
            "[x, x] | map('upper') | join('')",
            "[x, x] | sum(start='')",
            "[x, x] | string",
            "{'a': x, 'b': x} | tojson",
            "[x, x] | pprint",
        ] {
            let steps = format!("{{% set x = {step} %}}").repeat(60);
            check(&format!("{{% set x = 'abcdefgh' %}}{steps}{{{{ x | length }}}}"));
        }
        check(&format!("{{% set x = 'abcdefgh' %}}{}", "{% set x %}{{ x }}{{ x }}{% endset %}".repeat(60)));
        check(
            "{% set n = namespace(x='abcdefgh') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        );
        check("{% macro f(x, n) %}{{ f(x ~ x, n - 1) if n else '' }}{% endmacro %}{{ f('abcdefgh', 60) }}");
    }

    #[test]
    fn what_can_not_be_read_is_refused_at_once() {
        for source in ["{{ 'abc }}", "{{ # }}", "{% set x = ` %}", "{{"] {
            assert!(Template::new(source).is_err(), "{source}");
        }
    }

    #[test]
    fn lists_within_lists_are_no_way_around() {
        let nested = "{% set x = [x, x] %}".repeat(50);
        for end in ["{{ x }}", "{{ x | tojson }}", "{{ x ~ '' }}", "{{ x in 'abc' }}"] {
            check(&format!("{{% set x = ['abcdefgh'] %}}{nested}{end}"));
        }
    }

    #[test]
    fn what_is_compared_again_and_again_ends_in_an_error() {
        // A few instructions build thousands of values, and each comparison visits all of them.
        let nested = "{% set x = [x, x] %}{% set y = [y, y] %}".repeat(14);
        for step in [
            "x == y",
            "x != y",
            "x < y",
            "1 < 2 < 3 and x <= y <= x",
            "y in [x]",
            "x is eq y",
            "x is in [y]",
            "[x] | select('equalto', y) | list",
            "[x, y] | sort",
            "[x, y] | unique | list",
            "[x, y] | max",
            "{'a': x, 'b': y} | dictsort(by='value')",
        ] {
            check(&format!(
                "{{% set x = ['abcdefgh'] %}}{{% set y = ['abcdefgh'] %}}{nested}{{% for a in range(99999) %}}{{% set z = {step} %}}{{% endfor %}}"
            ));
        }
        let text = "'abcdefgh' * 1000000";
        let rest = "{% for a in range(99999) %}{% set z = x == y %}{% endfor %}";
        check(&format!("{{% set x = {text} %}}{{% set y = {text} %}}{rest}"));
    }

    #[test]
    fn what_grows_in_one_step_is_looked_at_before() {
        for end in [
            "{{ ([x] * 1000000) | join | length }}",
            "{{ x | replace('a', x) | length }}",
            "{{ x.replace('a', x) | length }}",
            "{{ x.join(range(99999)) | length }}",
            "{{ range(99999) | join(x) | length }}",
            "{{ (range(99999) | list) | map('replace', '1', x) | list | length }}",
            "{% set n = namespace(x=[]) %}{% for a in range(99999) %}{% set n.x = n.x + [x ~ a] %}{% endfor %}",
        ] {
            check(&format!("{{% set x = 'abcdefgh' * 125000 %}}{end}"));
        }
        for source in [
            "{{ 'a\nb' | indent(99999999999) | length }}",
            "{{ 'a\nb' | indent(width=99999999999) | length }}",
            "{{ '%99999999999s' | format('a') | length }}",
            "{{ '{:>99999999999}'.format('a') | length }}",
            "{{ [1] | batch(99999999999, 0) | list | length }}",
            "{{ [1] | slice(99999999999, 0) | list | length }}",
            "{{ ([1] * 100000000) | list | length }}",
        ] {
            check(source);
        }
        let long = "a".repeat(10_000);
        check(&format!("{{% set y %}}{{% for a in range(9999) %}}{long}{{% endfor %}}{{% endset %}}"));
        check(&"{{ ('x' * 99999999) | length }}".repeat(30));
    }

    #[test]
    fn what_templates_do_is_done() {
        let source = "{%- macro f(x) -%}<{{ x | upper }}>{%- endmacro -%}{%- set ns = namespace(a='') -%}{%- for i in range(3) -%}{%- if i == 1 -%}{%- continue -%}{%- endif -%}{%- set ns.a = ns.a ~ f('n' ~ i) + '*' * 2 -%}{%- endfor -%}{{ ns.a }} **{{ [1, 2] + [3] }}** {{ ['a', 'b'] | join('-') }} {{ ','.join(['a', 'b']) }} {{ 'aXb'.replace('X', '--') | indent(2, true) }} {{ 2 * 3 + 4 }} {{ 'b' in 'abc' and 2 in [1, 2] }} {{ 'abc'[::-1] }} {{ '%s-%d' | format('a', 7) }} {{ ['a', 'b'] | map('upper') | list }} {{ [1, 2] | sum }}";
        let text = Template::new(source).unwrap().render(&json!({}), 0).unwrap();
        assert_eq!(text, "<N0>**<N2>** **[1, 2, 3]** a-b a,b   a--b 10 True cba a-7 ['A', 'B'] 3");
    }
}
