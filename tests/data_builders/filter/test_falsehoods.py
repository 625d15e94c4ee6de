"""What a critique calculates itself must be true; what it repeats of the candidate need not be."""

import pytest

from data_builders.arithmetic.claims import claims
from data_builders.filter.falsehoods import false_calculations

CANDIDATE = "Monday: \\(14 \\times 9 = 116\\). Tuesday: half of 14 is 8, and 37 + 12 = 59."


@pytest.mark.parametrize(
    "text",
    [
        "14 × 9 = 136.",
        "\\(7^3 - 3 \\cdot 5 \\cdot 7 = 230\\)",
        "7² − 2 · 5 = 40",
        "26 times 4 is 106.",
        "120 divided by 8 is 16.",
        "Half of 85, the student's number, would be 43.5 anyway.",
        "25% of 80 is 20, then 10% of 60 is 8.",
        "2401 = 5 · 460 + 1, so the rest is 1.",
        "The circumference is 2 × 3.14159 × 0.7 ≈ 4.938 m.",
        "The student is mistaken, since 7 × 7 is not 49.",
        "The student has 4 × 17 = 68, but that is not what four seventeens make.",
        "15/4 = 3.8.",
        "9 · 0 + 7 = 8 · 2 = 16",
    ],
)
def test_false(text):
    assert false_calculations(text, CANDIDATE)


@pytest.mark.parametrize(
    "text",
    [
        "14 × 9 = 126, not 116.",
        "It says 14 · 9 = 116 and half of 14 is 8; both are slips.",  # the candidate's own
        'The line "20 × 3 = 50" is false.',
        "\\((a + b)^2 - 2ab = 7^2 - 2 \\cdot 5 = 49 - 10 = 39\\)",
        "t² − 7t + 5 = 0, so t³ = 7t² − 5t.",
        "a^2 + b^2 + 10 = 49, hence a^2 + b^2 = 39.",
        "3(n + 2) = 3x + 6 = 153",
        "Monday is 126 plus 37 × 2 = 74, that is 200.",
        "20 × 6 = 120, and that is not 140.",
        "7 × 2 = 14 is not Tuesday's money.",
        "14 × 9 is not 116.",
        "Half of the 14 boxes is 14 / 2 = 7, and 50% of 14 is 14 × 0.5 = 7.",
        "100/3 = 33.33, and 2 × 3.14159 × 0.7 ≈ 4.4.",
        "(45 min = 0.75 h, 20 min = 1/3 h)",
        "2^n + 1 = 5 only for n = 2",
    ],
)
def test_true_or_not_its_own(text):
    assert false_calculations(text, CANDIDATE) == []


@pytest.mark.parametrize(
    ("text", "value", "slip"),
    [("7^2 - 2 \\cdot 5 = 39", 39, False), ("7³ − 105 = 238", 238, False), ("(1 + 2)^{2} + 1 = 11", 11, True)],
)
def test_powers_are_calculated(text, value, slip):
    (claim,) = claims(text)
    assert claim.value == value and bool(claim.slip) is slip


FALSE = r"""
We know $50\equiv11\pmod{13}$. Since $13\cdot9=119$, the rest is 2.
The formula is (a - b)^2 = a^2 - b^2.
Recall that $\sqrt{a^2+b^2}=a+b$.
We use $(x+3)^2 = x^2 + 9$.
By the power rule $(x^2)^3 = x^5$.
Expanding, (x - 2)(x + 5) = x² + 3x + 10.
Factor: x² − 9 = (x − 3)².
so $2(x+3) = 2x + 3$
Since $\frac{a}{b+c} = \frac{a}{b} + \frac{a}{c}$, we may split.
$x^a \cdot x^b = x^{ab}$
The identity $a^3+b^3=(a+b)(a^2+ab+b^2)$ helps
$\frac{d}{dx} x^3 = 2x^2$
∫ 2x dx = 2x² + C
1 km = 100 m.
There are 100 seconds in a minute.
A kilogram is 100 grams.
2.5 hours is 250 minutes.
1 hour and 20 minutes is 1.2 hours, so
90 minutes = 1.3 h
an hour has sixty minutes and a day has 25 hours
3 m² = 300 cm²
72 km/h = 7.2 m/s
One metre equals 1000 cm.
1.5 km is 150 m
one litre is 100 ml
There are 10 millimetres in a metre
45 minutes are 0.45 hours
a week has 8 days
1 foot = 10 inches
5 m/s = 5 km/h
0.5 h (50 min)
180 seconds, that is 2 minutes
one fifth is 25 %
2/3, about 60.7 %
three eighths is roughly 0.42
a quarter is 20 percent
40% of 90 is 38
two thirds of 60 is 45
half of 85 is 43.5
7² = 14
$\sqrt{50} = 5\sqrt{3}$
√144 = 14
$\binom{5}{2} = 12$
5! = 100
3/4 + 1/4 = 4/8
$2\frac13 = \frac{6}{3}$
1/3 + 1/2 = 2/5
12 squared is 124
the sum 12 + 15 + 20 is 45
17 plus 26 equals 42
100 − 37 = 73
0.2 · 0.3 = 0.6
the mean is (3 + 5 + 10)/3 = 7
2^5 = 64
-3 - 4 = -1
80 · 0.75 = 65
$8^{1/3} = 3$
60 km/h · 1.5 h = 80 km
The tax is 10% of 60, i.e. 7
20% of 45 is 8
the ratio 12/18 equals 3/4
6 is 50 % of 13
C(6,2) = 16
dividing 91 by 7 gives 12
13 squared = 159
So $13\cdot7=93$ and we go on.
23 ≡ 4 mod 7
$3\cdot8=24\equiv5\pmod{11}$
The probability is 10/36 = 5/18. That is about 38 percent.
2.5 hours, which is the same as 250 minutes.
3 km, in other words 300 m.
It takes 1.5 hours or 100 minutes.
a cup is 8 tablespoons
1 km/h equals 3.6 m/s
thirteen times 180 is 2240 degrees
4320 is 180 taken 26 times.
The sum of 15 and 28 is 45.
the average of 4, 6 and 11 is 8
15 out of 60 is 30%
Recall $\ln(1+u)=\ln 1+\ln u$.
the formula $\cos2x=2\sin^2x-1$
$\log_2(x+y)=\log_2 x+\log_2 y$
familiar $(a-b)^2=a^2-2ab-b^2$.
where $4^x=(2^2)^x=2^{2+x}$ is used
""".strip().split("\n")
TRUE = r"""
The larger one is four plus the square root of three, about 5.732.
By $50\equiv11\pmod{13}$ we have $50+2=0$.
The student forgets that (a+b)² = a² + b² is false.
It isn't true that √(a+b) = √a + √b.
Let s = a + b, so a² + b² = s² − 2p.
f(x) = x² + 1 and P = 2(l + w).
Solve 3(x − 4) = 5x + 2: x = −7.
From x(x + 2) = x² + 8 we get 2x = 8, x = 4.
(x+1)² = x² + 25 gives x = 12
x + 3 = 2x − 1 has x = 4
The number n satisfies n² = n + 6, so n = 3.
n − 2 + n + n + 2 = 3n
$a_n = a_1 + (n-1)d$
60/x = 60/(x + 5) + 1
√(x + 1) = x − 1, so x = 3
$1+2+\dots+n = \frac{n(n+1)}{2}$
the 2 hours are 20 minutes too long
the trip takes 90 minutes, 30 minutes more than an hour
She has 5 m of rope and uses 200 cm.
60 minutes, not 100, make an hour
45 minutes is 3/4 of an hour
a third of an hour is 20 minutes
1.5 h = 90 min = 5400 s
one and a half hours is 90 minutes
72 km/h = 20 m/s
1 m³ = 1000 L and 1 L = 1000 cm³
90 min ÷ 60 = 1.5 h
The student treats 90 minutes as 0.9 hours.
0.9 hours is 54 minutes, not 90 minutes
The discount is 25 % of 80, which is 20 dollars.
two thirds is about 67 %
1/7 ≈ 14 %
one third is 33 %
5/8 is 62.5 percent
A third of 50 is about 17.
33 1/3 % is 1/3
12 is 60 % of 20
a rise of 10 % on 60 is 6
3 : 4 = 9 : 12
7 · 8 = 56 = 5 · 11 + 1
7² ≡ 4 (mod 5), 3 · 4 = 2 mod 5
In base 2, 101 = 5
He has 3 times as many: 3 · 12 = 36.
x = 5 or x = −5
the answer is 5, 3 of them red
100 / 3 = 33.3
2/3 = 0.67
√2 ≈ 1.41
π ≈ 3.14, so 2π ≈ 6.28
π r² = 3.14 · 4 = 12.56
as if 3 + 4 = 8
If 5 + 5 were 12
9 = 3² and 27 = 3³
½ · 5 · 12 = 30
180° − 24° = 156°
360° = 2π rad
180° = π
the probability is 1/6 ≈ 0.17
Speed: 100 km/h · 1.5 h = 150 km
4 dollars = 400 cents
a dozen is 12
The 12 in 12/36 = 1/3
1 − 1/3 = 2/3
(1/2)^3 = 1/8
$\tfrac{3}{4} \cdot 84 = 63$
5 + (−2) = 3
|2x − 3| = 7
15% = 12 dollars here
The sum is 5 · 9 = 45 cm, 85 − 45 = 40 cm
2x = 10 → x = 5
the first 20 minutes are 6 km
each hour has its own rate
a day has 8 working hours
1 2/3 + 2 1/4 = 3 11/12
4 1/12 ≈ 4.08
x² − 5x + 6 = (x − 2)(x − 3) = 0
a(b + c) = ab + ac
(x+y)² − (x−y)² = 4xy
the line y = 2x + 1 and y = x + 3: 2x + 1 = x + 3, x = 2
p(2 − p) = 1 − (1 − p)²
v = s/t = 150/1.5 = 100
(a+b)^2 = 49 while a^2+b^2 = 39
With r = 3 the series 4 + 12 + 36 = 52
the average is 12 points, 3 above
$7^2\equiv4\pmod5$ and 23 ≡ 2 (mod 7)
49^2 = 2401 ≡ 1 (mod 100)
40 minutes or 1 hour
Seventeen taken four times is 40 and 28, which is 68.
1 cup = 16 tablespoons = 48 teaspoons
$\ln(ab)=\ln a+\ln b$ and $\log(x^2)=2\log x$
$\sin 2x=2\sin x\cos x$ and $\cos2x=2\cos^2x-1$
$4^x=2^{x+3}$, so $2^{2x}=2^{x+3}$.
$\sqrt{x+6}=x$, so x + 6 = x²
""".strip().split("\n")


@pytest.mark.parametrize("text", FALSE)
def test_false_laws_conversions_and_values(text):
    assert false_calculations(text, "")


@pytest.mark.parametrize("text", TRUE)
def test_conditions_definitions_denials_and_true_statements(text):
    assert false_calculations(text, "") == []


def test_what_the_candidate_says_is_not_the_critique_s_own():
    candidate = "By the formula $(a+b)^2=a^2+b^2$, and 40 minutes = 0.4 h, and 4 × 17 = 58."
    assert false_calculations("It takes (a + b)² = a² + b², 40 minutes as 0.4 h, and 4 × 17 = 58.", candidate) == []


def test_an_equation_that_follows_from_the_question_is_no_law():
    question = "The real numbers a and b satisfy a + b = 7 and ab = 5."
    text = "So a² + b² + 2ab = a² + b² + 10, and 7(a² − ab + b²) = 7(a² + b² − 5)."
    assert false_calculations(text, "", question) == []
    assert false_calculations("The identity a² + b² + 2ab = a² + b² + 11 helps.", "", question)
