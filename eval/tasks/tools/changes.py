"""Office tasks that change files: one function a kind.

Each gives a `Draw`. With `broken`, the request is the same and the files do not have or do not allow it.
"""

from random import Random

from eval.tasks.tools.names import DAYS, Draw, Names, money, plain, table


def update(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """One value, one price by a percentage, or all prices of a supplier."""
    if level == 1:
        people, numbers = names.take("people", 5), rng.sample(range(1000, 9999), 11)
        rows = [[name, numbers[2 * i] // 10, numbers[2 * i + 1]] for i, name in enumerate(people)]
        person = people[rng.randrange(5)]
        words = {"person": person, "new": str(numbers[10])}
        after = [[name, room, numbers[10] if name == person else phone] for name, room, phone in rows]
        head = "name,room,phone"
        return {"staff.csv": table(head, rows)}, {"staff.csv": table(head, after)}, None, words
    items, suppliers, percent = names.take("items", 6), names.take("firms", 2), rng.choice((5, 10, 15, 20, 25))
    rows = [[item, suppliers[i % 2], rng.randrange(200, 8000, 20)] for i, item in enumerate(rng.sample(items[1:], 5))]
    item, supplier, cents = rng.choice(rows)
    new = cents * (100 + percent) // 100
    words = {"item": items[0] if broken else item, "firm": supplier, "percent": percent, "new": money(new)}
    words |= {"percent_two": f"{percent:02d}", "product": f"{money(cents)} * {100 + percent} / 100"}
    hit = [row for row in rows if (row[1] == supplier if level == 3 else row[0] == item)]
    after = [[*row[:2], row[2] * (100 + percent * (row in hit)) // 100] for row in rows]
    before, after = (
        table("item,supplier,price", [(*row[:2], money(row[2])) for row in lines]) for lines in (rows, after)
    )
    answer = None if broken or level == 3 else plain(new)
    return {"prices.csv": before}, {} if broken else {"prices.csv": after}, answer, words


def append(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """A row at the end of a table, with the next id; at level 2 with a cost by the rate in a text."""
    people, first, day = names.take("people", 8), rng.randrange(11, 80), rng.choice(DAYS)
    if level == 1:
        rows = [(first + i, people[i], rng.choice(people[5:]), rng.choice(DAYS)) for i in range(4)]
        head, new = "id,visitor,host,day", (first + 4, people[4], people[5], day)
        words = {"person": people[4], "other": people[5], "day": day}
        name, answer, extra = "visits.csv", str(first + 4), {}
    else:
        rate, km = rng.randrange(28, 56), [rng.randrange(12, 400) for _ in range(4)]
        rows = [(first + i, people[i], n, money(n * rate)) for i, n in enumerate(km)]
        (town, ours), rows, new = names.take("cities", 2), rows[:3], (first + 3, people[3], km[3], rows[3][3])
        head, name, answer = "id,name,km,cost", "trips.csv", plain(km[3] * rate)
        words = {"person": people[3], "km": km[3], "city": town, "rate": money(rate), "cost": new[3]}
        rates = f"One kilometre by car is paid with {money(rate)} euros."
        extra = {"rates.txt": f"Travel rates, {ours}\n{rates}\nMeals are not paid.\n"}
    words |= {"id": new[0]}
    return {name: table(head, rows)} | extra, {name: table(head, [*rows, new])}, answer, words


def report(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """A new table of totals by department; at level 4 only of those over their budget."""
    (firm,), parts, first = names.take("firms", 1), sorted(names.take("departments", 3)), rng.randrange(100, 800)
    rows = [(part, rng.randrange(15, 400)) for part in [*parts, *parts, *rng.choices(parts, k=2)]]
    rng.shuffle(rows)
    spent = {part: sum(amount for who, amount in rows if who == part) for part in parts}
    files = {"expenses.csv": table("id,department,amount", [(first + i, *row) for i, row in enumerate(rows)])}
    if level == 3:
        words, answer = {"firm": firm, "file": "totals.csv"}, str(max(spent.values()))
        return files, {"totals.csv": table("department,total", spent.items())}, answer, words
    over = set(rng.sample(parts, 2))
    budgets = {part: total + rng.randrange(5, 90) * (-1 if part in over else 1) for part, total in spent.items()}
    lines = [(part, spent[part] - budgets[part]) for part in parts if part in over]
    files["budgets.csv"] = table("department,budget", budgets.items())
    words = {"firm": firm, "file": "over.csv", "sum": " + ".join(str(excess) for _, excess in lines)}
    return files, {"over.csv": table("department,excess", lines)}, str(sum(excess for _, excess in lines)), words


def transfer(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """Money from one budget to another; at level 4 with a floor in the rules, and an entry in the log."""
    parts, first = names.take("departments", 4), rng.randrange(20, 90)
    budgets = {part: rng.randrange(900, 5000, 10) for part in parts}
    source, target = rng.sample(parts, 2)
    floor = rng.randrange(200, 500, 50)
    spare = budgets[source] - floor
    amount = spare + rng.randrange(10, 150, 10) if broken else rng.randrange(100, spare, 10)
    left, got = budgets[source] - amount, budgets[target] + amount
    words = {"source": source, "target": target, "amount": amount, "floor": floor, "left": left, "got": got}
    words |= {"had": budgets[source], "before": budgets[target], "id": first + 3}
    head, files = "department,budget", {"budgets.csv": table("department,budget", budgets.items())}
    changed = {"budgets.csv": table(head, (budgets | {source: left, target: got}).items())}
    if level == 4:
        log = [(first + i, *rng.sample(parts, 2), rng.randrange(50, 400, 10)) for i in range(3)]
        files["log.csv"] = table("id,source,target,amount", log)
        changed["log.csv"] = table("id,source,target,amount", [*log, (first + 3, source, target, amount)])
        rules = f"Every budget keeps at least {floor} euros.\nEvery transfer is entered in the log."
        files["rules.txt"] = f"Budgets, {names.take('cities', 1)[0]}\n{rules}\n"
    return files, {} if broken else changed, None if broken else str(got), words


def payments(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """Invoices marked as paid, one that is named or all that are paid in full; the answer is what stays open."""
    firms, first = names.take("firms", level - 1), rng.randrange(100, 900)
    rows = [[first + 3 * i, firms[i % len(firms)], rng.randrange(40, 900), "open"] for i in range(6)]
    rows[rng.randrange(1, 6)][3] = "paid"
    owing, extra, whose = [row for row in rows if row[3] == "open"], {}, firms
    if level == 3:
        paid, part, whose = [rows[0][0]], rows[0], firms[:1]
    else:
        part, *full = rng.sample(owing, 3)
        got = [(row[0], row[2]) for row in full] + [(part[0], part[2] - rng.randrange(5, 30))]
        paid, extra = [row[0] for row in full], {"bank.csv": table("invoice,received", sorted(got))}
    words = {"firm": firms[0], "invoice": part[0]}
    after = [[*row[:3], "paid" if row[0] in paid else row[3]] for row in rows]
    unpaid = [row[2] for row in after if row[3] == "open" and row[1] in whose]
    words |= {"paid": " and ".join(map(str, sorted(paid))), "sum": " + ".join(map(str, unpaid))}
    before, after = (table("invoice,customer,amount,status", lines) for lines in (rows, after))
    return {"invoices.csv": before} | extra, {"invoices.csv": after}, str(sum(unpaid)), words


def leave(rng: Random, names: Names, level: int, broken: bool) -> Draw:
    """Somebody who left goes out of the staff table, and the key that was theirs is free."""
    people, departments = names.take("people", 5), names.take("departments", 3)
    keys, person = rng.sample(range(11, 99), 5), people[rng.randrange(5)]
    staff = [(name, rng.choice(departments), rng.randrange(101, 999)) for name in people]
    held = list(zip(sorted(keys), [*rng.sample(people, 4), "free"], strict=True))
    held = [(key, person if i == 0 and person not in dict(held).values() else who) for i, (key, who) in enumerate(held)]
    key = next(key for key, who in held if who == person)
    files = {"staff.csv": table("name,department,room", staff), "keys.csv": table("key,holder", held)}
    after = [(number, "free" if number == key else who) for number, who in held]
    changed = {"staff.csv": table("name,department,room", [row for row in staff if row[0] != person])}
    return files, changed | {"keys.csv": table("key,holder", after)}, str(key), {"person": person, "key": key}
