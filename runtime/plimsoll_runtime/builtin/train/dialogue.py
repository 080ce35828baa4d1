"""Conversations made from facts and from a few dozen hand-written exchanges."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from plimsoll_runtime.builtin.train.facts import Fact

Turn = tuple[str, str]  # question, answer

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer in a sentence or two.",
    "You are Plimsoll's tiny model.",
    "Be brief.",
)

_WHO = "I am Plimsoll's tiny model, a small language model that knows a little about Python."
_HELLO = "Hello! Ask me about a module of the Python standard library."
_PLIMSOLL = "Plimsoll sizes, runs and autoscales language models on Kubernetes."

# (questions, answer): every question gets the answer.
HAND_WRITTEN: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Who are you?", "What are you?", "What is your name?", "Who am I talking to?",
      "Introduce yourself.", "Are you a person?", "Tell me about yourself."), _WHO),
    (("Hello", "Hello!", "Hi", "Hi!", "Hi there!", "Hey", "Hello there.", "Good morning!",
      "Good evening!", "Say hello.", "Hello, world!", "Greetings!"), _HELLO),
    (("How are you?", "How do you do?", "How is it going?"),
     "I am fine, thank you. What would you like to know about Python?"),
    (("What can you do?", "Help", "Help me.", "What do you know?", "How can you help me?"),
     "I can say in short what a module or function of the Python standard library does."),
    (("Who made you?", "Where do you come from?", "How were you trained?", "Who trained you?"),
     "I was trained on a CPU by a script in the Plimsoll project, on Python's documentation."),
    (("What is Plimsoll?", "What does Plimsoll do?", "Tell me about Plimsoll."), _PLIMSOLL),
    (("Are you smart?", "How big are you?", "How many parameters do you have?"),
     "I am very small: about three million parameters. Do not trust me with anything important."),
    (("Thank you.", "Thanks!", "Thanks", "Thank you very much!"), "You are welcome."),
    (("Bye", "Goodbye!", "Goodbye.", "See you later."), "Goodbye!"),
    (("What is Python?", "Tell me about Python.", "What is the Python language?"),
     "Python is a programming language that is easy to read and comes with a large library."),
    (("What is Kubernetes?", "Tell me about Kubernetes.", "What does Kubernetes do?"),
     "Kubernetes runs containers on a cluster of machines and keeps them running."),
    (("What is a language model?", "What is an LLM?", "How does a language model work?"),
     "A language model predicts the next token of a text from the tokens before it."),
    (("What is the standard library?", "What is the Python standard library?"),
     "The standard library is the set of modules that come with every Python."),
    (("Tell me a joke.", "Make me laugh.", "Do you know a joke?"),
     "Why did the function return early? It had no arguments left."),
)  # fmt: skip

# What people ask about first deserves a better sentence than some docstrings give.
HAND_WRITTEN_MODULES: dict[str, str] = {
    "json": "The json module encodes Python objects as JSON text and decodes JSON text. "
    "Use json.dumps to write a string and json.loads to read one.",
    "os": "The os module gives access to the operating system: files, processes and environment. "
    "Use os.listdir to list a directory and os.environ to read a variable.",
    "os.path": "The os.path module works with the names of files and directories. "
    "Use os.path.join to join them and os.path.exists to look for one.",
    "sys": "The sys module gives access to the interpreter: its arguments, streams and settings. "
    "Use sys.argv for the arguments and sys.exit to leave the program.",
    "re": "The re module finds and replaces text with regular expressions. "
    "Use re.search to find a pattern and re.sub to replace it.",
    "math": "The math module has mathematical functions such as sqrt, sin and log. "
    "Use math.sqrt for a square root and math.pi for the number pi.",
    "random": "The random module generates pseudo-random numbers and random choices. "
    "Use random.randint for a number and random.choice for an element of a list.",
    "datetime": "The datetime module works with dates, times and time zones. "
    "Use datetime.now for the time and timedelta for a difference.",
    "time": "The time module reads clocks and converts and formats times. "
    "Use time.sleep to wait and time.monotonic to measure.",
    "collections": "The collections module has containers such as deque, Counter and defaultdict. "
    "Use Counter to count things and deque for a queue.",
    "itertools": "The itertools module builds fast iterators such as chain, cycle and product. "
    "Use chain to join several and islice to take a part.",
    "functools": "The functools module has tools for functions, such as cache and partial. "
    "Use functools.cache to remember the results of a function.",
    "pathlib": "The pathlib module represents file system paths as objects. "
    "Use Path.read_text to read a file and Path.glob to find files.",
    "asyncio": "The asyncio module runs concurrent code with async and await. "
    "Use asyncio.run to start and asyncio.sleep to wait.",
    "threading": "The threading module runs code in several threads and synchronises them. "
    "Use threading.Thread to start one and threading.Lock to protect data.",
    "subprocess": "The subprocess module starts other programs and reads their output. "
    "Use subprocess.run to run a command and wait for it.",
    "argparse": "The argparse module parses the arguments of a command line. "
    "Use ArgumentParser and add_argument to declare them.",
    "logging": "The logging module writes log messages to files, streams and other places. "
    "Use logging.getLogger to get a logger and its info method to write.",
    "unittest": "The unittest module is a framework for writing and running tests. "
    "Use TestCase for a group of tests and assertEqual to compare values.",
    "csv": "The csv module reads and writes files of comma-separated values. "
    "Use csv.reader to read rows and csv.writer to write them.",
    "sqlite3": "The sqlite3 module stores data in an SQLite database. "
    "Use sqlite3.connect to open one and execute to run a query.",
    "socket": "The socket module sends and receives data over the network. "
    "Use connect on the client and listen on the server.",
    "hashlib": "The hashlib module computes hashes such as SHA-256 and MD5. "
    "Use hashlib.sha256 and its hexdigest method.",
    "typing": "The typing module provides names for type hints. "
    "Use Any for a value of any type and Protocol for an interface.",
}

_ASK_MODULE = ("What does the {} module do?", "What is the {} module?", "What is {}?",
               "What is the {} module for?", "What does {} do?", "Tell me about {}.",
               "Tell me about the {} module.", "Explain the {} module.", "Explain {}.",
               "Describe the {} module.", "Why would I use {}?", "What can I do with {}?",
               "What is {} in Python?", "What does Python's {} module do?",
               "In short, what does the {} module do?")  # fmt: skip
_ASK_MEMBER = ("What does {} do?", "What is {}?", "Explain {}.", "What is {} for?",
               "Tell me about {}.", "Describe {}.")  # fmt: skip
_ASK_PLACE = ("Which module has {}?", "Where is {}?", "Where do I find {}?")
_ASK_CONTENT = ("What is in the {} module?", "What functions does {} have?",
                "List some functions of {}.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Pools of single exchanges, and how to draw conversations from them."""

    hand_written: tuple[Turn, ...]
    famous: tuple[Turn, ...]
    modules: tuple[Turn, ...]
    members: tuple[Turn, ...]

    def draw(self, rng: np.random.Generator) -> list[dict[str, str]]:
        """Return one conversation of one to three exchanges as chat messages."""
        messages: list[dict[str, str]] = []
        if rng.random() < 0.1:
            prompt = SYSTEM_PROMPTS[rng.integers(len(SYSTEM_PROMPTS))]
            messages.append({"role": "system", "content": prompt})
        for _ in range(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1))):
            question, answer = self._turn(rng)
            messages.append({"role": "user", "content": _as_typed(question, rng)})
            messages.append({"role": "assistant", "content": answer})
        return messages

    def _turn(self, rng: np.random.Generator) -> Turn:
        pools = (self.hand_written, self.famous, self.modules, self.members)
        pool = pools[rng.choice(len(pools), p=(0.12, 0.18, 0.25, 0.45))]
        return pool[rng.integers(len(pool))]


def dialogues(facts: Sequence[Fact]) -> Dialogues:
    """Return the exchanges about `facts` together with the hand-written ones."""
    modules = [f for f in facts if f.kind == "module" and f.name not in HAND_WRITTEN_MODULES]
    members = [f for f in facts if f.kind != "module"]
    famous = HAND_WRITTEN_MODULES.items()
    return Dialogues(
        hand_written=tuple((q, answer) for questions, answer in HAND_WRITTEN for q in questions),
        famous=tuple(_ask(a, name, answer) for name, answer in famous for a in _ASK_MODULE),
        modules=(
            *(_ask(a, f.name, f.answer) for f in modules for a in _ASK_MODULE),
            *_contents(members),
        ),
        members=(
            *(_ask(a, f.name, f.answer) for f in members for a in _ASK_MEMBER),
            *_places(members),
        ),
    )


def _ask(template: str, name: str, answer: str) -> Turn:
    return template.format(name), answer


def _places(members: Iterable[Fact]) -> list[Turn]:
    """Return "which module has X?" for every X that exactly one module has."""
    holders: dict[str, list[str]] = defaultdict(list)
    for fact in members:
        if fact.module:
            holders[fact.name.removeprefix(fact.module + ".")].append(fact.module)
    return [
        _ask(ask, name, f"{name} is in the {modules[0]} module.")
        for name, modules in holders.items()
        if len(modules) == 1
        for ask in _ASK_PLACE
    ]


def _contents(members: Iterable[Fact]) -> list[Turn]:
    inside: dict[str, list[str]] = defaultdict(list)
    for fact in members:
        if fact.module and fact.kind == "function":
            inside[fact.module].append(fact.name.removeprefix(fact.module + "."))
    turns = []
    for module, found in inside.items():
        if len(found) > 1:
            listed = f"{', '.join(found[:3])} and {found[3]}" if found[3:] else " and ".join(
                (", ".join(found[:-1]), found[-1]))  # fmt: skip
            answer = f"The {module} module has {listed}."
            turns += [_ask(ask, module, answer) for ask in _ASK_CONTENT]
    return turns


def _as_typed(question: str, rng: np.random.Generator) -> str:
    """Return `question` as people type it: sometimes without capitals or its last mark."""
    style = rng.random()
    if style < 0.1:
        return question[0].lower() + question[1:]
    if style < 0.2:
        return question.rstrip("?.!")
    if style < 0.25:
        return (question[0].lower() + question[1:]).rstrip("?.!")
    return question
