//! The macro that says how little `Debug` shows of a type.

/// Implements `Debug` for a type that holds secrets, or parts that have none: `brief_debug!(Type)` shows its name alone,
/// `brief_debug!(Type, field, …)` some of its fields, too, `brief_debug!(Type, |it| name = it.value(), …)` what is made
/// of it, and `brief_debug!(Type as "text")` a text in their place.
#[macro_export]
macro_rules! brief_debug {
    ($name:ident as $text:literal) => {
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str($text)
            }
        }
    };
    ($name:ident $(, $field:ident)*) => {
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    };
    ($name:ident, |$it:ident| $($field:ident = $value:expr),+) => {
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $it = self;
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &$value))+
                    .finish_non_exhaustive()
            }
        }
    };
}
