//! Numbers of people and accounts, told from other numbers by their check digits.

/// Countries with the length of their IBANs.
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

/// The length in bytes of the IBAN that `text` starts with, with single spaces in it. `None` if it is none.
pub(crate) fn iban_length(text: &str) -> Option<usize> {
    let country = text.get(..2)?;
    let (_, length) = IBAN_LENGTHS.iter().find(|(code, _)| *code == country)?;
    let mut letters = String::with_capacity(*length);
    let mut was_space = false;
    for (at, letter) in text.char_indices() {
        match letter {
            ' ' if !was_space && !letters.is_empty() => was_space = true,
            letter if letter.is_ascii_uppercase() || letter.is_ascii_digit() => {
                was_space = false;
                letters.push(letter);
                if letters.len() == *length {
                    return is_iban(&letters).then_some(at + 1);
                }
            }
            _ => return None,
        }
    }
    None
}

fn is_iban(letters: &str) -> bool {
    let Some((head, rest)) = letters.split_at_checked(4) else { return false };
    let remainder = rest.chars().chain(head.chars()).try_fold(0_u32, |sum, letter| {
        let value = letter.to_digit(36)?;
        Some((if value > 9 { sum * 100 + value } else { sum * 10 + value }) % 97)
    });
    remainder == Some(1)
}

pub(crate) fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter_map(|letter| letter.to_digit(10)).collect()
}

/// Whether the number of a payment card: its length, its first digit and its last one are right.
pub(crate) fn is_card(text: &str) -> bool {
    let digits = digits_of(text);
    (13..=19).contains(&digits.len())
        && matches!(digits.first(), Some(2..=6))
        && digits.windows(2).any(|pair| pair.first() != pair.last())
        && luhn(&digits)
}

fn luhn(digits: &[u32]) -> bool {
    let doubled = |(at, digit): (usize, &u32)| match (at % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

/// Whether the number of a person in one of the countries whose numbers have check digits, or the social
/// security number of the United States, whose parts are in ranges.
pub(crate) fn is_national_id(text: &str) -> bool {
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let checks: [fn(&str, &str) -> bool; 9] =
        [spain, italy, france, germany, poland, finland, brazil, china, united_states];
    checks.iter().any(|is_one| is_one(text, &plain))
}

fn letter_at(letters: &str, at: u32) -> Option<char> {
    letters.chars().nth(usize::try_from(at).ok()?)
}

/// DNI and NIE: a letter by the remainder of the number.
fn spain(_: &str, plain: &str) -> bool {
    let (Some(body), Some(check)) = (plain.get(..8), plain.get(8..)) else { return false };
    let number = match body.chars().next() {
        Some('X') => body.replacen('X', "0", 1),
        Some('Y') => body.replacen('Y', "1", 1),
        Some('Z') => body.replacen('Z', "2", 1),
        _ => body.to_owned(),
    };
    let Ok(number) = number.parse::<u32>() else { return false };
    let letter = letter_at("TRWAGMYFPDXBNJZSQVHLCKE", number % 23);
    check.len() == 1 && letter.is_some_and(|letter| check.starts_with(letter))
}

/// Codice fiscale: a letter by a table for odd and even places.
fn italy(_: &str, plain: &str) -> bool {
    const ODD: [u32; 36] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12,
        14, 16, 10, 22, 25, 24, 23,
    ];
    if plain.len() != 16 || !plain.get(..6).is_some_and(|name| name.bytes().all(|b| b.is_ascii_uppercase())) {
        return false;
    }
    let mut sum = 0;
    for (at, letter) in plain.chars().take(15).enumerate() {
        let Some(value) = letter.to_digit(36) else { return false };
        let even = if value > 9 { value - 10 } else { value };
        let odd = usize::try_from(value).ok().and_then(|value| ODD.get(value)).copied();
        sum += if at % 2 == 0 { odd.unwrap_or_default() } else { even };
    }
    letter_at("ABCDEFGHIJKLMNOPQRSTUVWXYZ", sum % 26) == plain.chars().last()
}

/// NIR: two digits that complete the number to a multiple of 97.
fn france(_: &str, plain: &str) -> bool {
    let (Some(body), Some(key)) = (plain.get(..13), plain.get(13..)) else { return false };
    let body = body.replace("2A", "19").replace("2B", "18");
    let (Ok(number), Ok(key)) = (body.parse::<u64>(), key.parse::<u64>()) else { return false };
    let month = body.get(3..5).and_then(|month| month.parse::<u32>().ok());
    plain.len() == 15
        && body.starts_with(['1', '2'])
        && month.is_some_and(|month| (1..=12).contains(&month) || month >= 20)
        && key == 97 - number % 97
}

/// Tax number: eleven digits, one of which occurs two or three times among the first ten; ISO 7064, MOD 11,10.
fn germany(_: &str, plain: &str) -> bool {
    let digits = digits_of(plain);
    if plain.len() != 11 || digits.len() != 11 || digits.first() == Some(&0) {
        return false;
    }
    let first = digits.get(..10).unwrap_or_default();
    let most = (0..10).map(|one| first.iter().filter(|digit| **digit == one).count()).max();
    let product = first.iter().fold(10, |product, digit| {
        let sum = match (digit + product) % 10 {
            0 => 10,
            sum => sum,
        };
        sum * 2 % 11
    });
    matches!(most, Some(2 | 3)) && digits.last() == Some(&((11 - product) % 10))
}

/// PESEL: a date and a weighted sum.
fn poland(_: &str, plain: &str) -> bool {
    let digits = digits_of(plain);
    let month = plain.get(2..4).and_then(|month| month.parse::<u32>().ok()).map(|month| month % 20);
    let day = plain.get(4..6).and_then(|day| day.parse::<u32>().ok());
    plain.len() == 11
        && digits.len() == 11
        && month.is_some_and(|month| (1..=12).contains(&month))
        && day.is_some_and(|day| (1..=31).contains(&day))
        && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// Henkilötunnus: a date, a sign of the century, and a character by the remainder.
fn finland(text: &str, _: &str) -> bool {
    let (Some(date), Some(sign)) = (text.get(..6), text.get(6..7)) else { return false };
    let (Some(number), Some(check)) = (text.get(7..10), text.get(10..)) else { return false };
    let Ok(value) = format!("{date}{number}").parse::<u32>() else { return false };
    check.len() == 1
        && "+-YXWVUABCDEF".contains(sign)
        && letter_at("0123456789ABCDEFHJKLMNPRSTUVWXY", value % 31) == check.chars().next()
}

/// CPF: two digits by weighted sums.
fn brazil(_: &str, plain: &str) -> bool {
    let digits = digits_of(plain);
    if plain.len() != 11 || digits.len() != 11 || digits.windows(2).all(|pair| pair.first() == pair.last()) {
        return false;
    }
    let check = |sum: u32| match sum * 10 % 11 {
        10 => 0,
        digit => digit,
    };
    digits.get(9) == Some(&check(weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2])))
        && digits.get(10) == Some(&check(weighted(&digits, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2])))
}

/// Resident identity number: a date, and ISO 7064, MOD 11-2.
fn china(_: &str, plain: &str) -> bool {
    let digits = digits_of(plain.get(..17).unwrap_or_default());
    let sum = weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    plain.len() == 18
        && digits.len() == 17
        && matches!(plain.get(6..8), Some("18" | "19" | "20"))
        && letter_at("10X98765432", sum % 11) == plain.chars().last()
}

/// It has no check digit: only with its hyphens, and without the ranges that are never given.
fn united_states(text: &str, _: &str) -> bool {
    let mut parts = text.split('-');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(area), Some(group), Some(serial), None] = parts else { return false };
    (area.len(), group.len(), serial.len()) == (3, 2, 4)
        && [area, group, serial].iter().all(|part| part.bytes().all(|digit| digit.is_ascii_digit()))
        && area != "000"
        && area != "666"
        && !area.starts_with('9')
        && group != "00"
        && serial != "0000"
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_number_ends_where_its_country_says() {
        for (text, length) in [
            ("DE89370400440532013000", Some(22)),
            ("DE89 3704 0044 0532 0130 00 UND MEHR", Some(27)),
            ("GB29NWBK60161331926819", Some(22)),
            ("DE88370400440532013000", None),
            ("XX89370400440532013000", None),
            ("DE8937040044053201300", None),
        ] {
            assert_eq!(iban_length(text), length, "{text}");
        }
    }

    #[test]
    fn a_card_is_told_by_its_last_digit() {
        for (text, expected) in [
            ("4111111111111111", true),
            ("5555 5555 5555 4444", true),
            ("3782-822463-10005", true),
            ("4111111111111112", false),
            ("0000000000000000", false),
            ("1234567812345670", false),
        ] {
            assert_eq!(is_card(text), expected, "{text}");
        }
    }

    #[test]
    fn people_are_told_by_the_check_digits_of_their_country() {
        for text in [
            "12345678Z",
            "X1234567L",
            "RSSMRA85T10A562S",
            "255081416802538",
            "86095742719",
            "44051401359",
            "131052-308T",
            "529.982.247-25",
            "11010519491231002X",
            "123-45-6789",
        ] {
            assert!(is_national_id(text), "{text}");
        }
        for text in
            ["12345678A", "RSSMRA85T10A562T", "86095742718", "44051401358", "131052-308U", "529.982.247-26"]
        {
            assert!(!is_national_id(text), "{text}");
        }
        assert!(!is_national_id("000-12-3456") && !is_national_id("900-12-3456"));
    }
}
