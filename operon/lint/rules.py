"""What a body may not touch: the names, why, and what to write instead.

Names are origins as `operon.lint.origins` finds them. This file is a table; what
needs more than a name is a check of its own.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from operon.lint.findings import Code


@dataclass(frozen=True)
class Rule:
    """Why some names have no place in a body."""

    code: Code
    problem: str
    """Goes behind the code that uses such a name, as the rest of a sentence."""
    cure: str


_NOW = Rule(
    Code.CLOCK,
    "reads a clock, which says another time on every replay",
    "use self.now(), or read the clock in a step",
)
_STOPWATCH = Rule(
    Code.CLOCK,
    "reads a clock, which says another time on every replay",
    "measure inside a step or an activity, or compare two self.now()",
)
_SLEEP = Rule(
    Code.CLOCK,
    "waits again on every replay, and holds a thread meanwhile",
    "use self.sleep(timedelta(…)), which costs a row",
)
_RANDOM = Rule(
    Code.RANDOMNESS,
    "draws another value on every replay",
    "use self.random(), a generator that every replay gets alike",
)
_UUID = Rule(
    Code.RANDOMNESS,
    "makes another UUID on every replay",
    "use self.uuid()",
)
_SECRET = Rule(
    Code.RANDOMNESS,
    "draws another value on every replay",
    "draw it in an @activity, whose result is recorded",
)
_SESSION = Rule(
    Code.DATABASE,
    "works on the database outside any step, so again on every replay",
    "do it in a @step, which is given a session and commits with its checkpoint",
)
_OUTSIDE = Rule(
    Code.IO,
    "reaches outside the run, so again on every replay",
    "do it in an @activity, whose result is recorded",
)
_PRINT = Rule(
    Code.IO,
    "writes again on every replay",
    "use current().logger, whose records name the run, or print in an @activity",
)
_INPUT = Rule(
    Code.IO,
    "waits for a person, and again on every replay",
    "use self.receive(topic), and let whoever asks them send the answer",
)
_PROCESS = Rule(
    Code.ENVIRONMENT,
    "depends on the process, and a replay may be in another one",
    "make it a field of the workflow, or read it in an @activity",
)
_THREADS = Rule(
    Code.THREADS,
    "does work in an order that no replay repeats",
    "use self.spawn and self.gather, which give each operation its position",
)
_IDENTITY = Rule(
    Code.IDENTITY,
    "differs from process to process",
    "use a value that is stored, such as a key, or hashlib for a digest",
)

_NAMES: tuple[tuple[Rule, str, str], ...] = (
    (_NOW, "datetime.datetime", "now utcnow today"),
    (_NOW, "datetime.date", "today"),
    (_NOW, "time", "time time_ns localtime gmtime ctime asctime strftime"),
    (_NOW, "arrow", "now utcnow"),
    (_NOW, "pendulum", "now today tomorrow yesterday"),
    (_NOW, "django.utils.timezone", "now localdate localtime"),
    (_STOPWATCH, "time", "monotonic monotonic_ns perf_counter perf_counter_ns"),
    (_STOPWATCH, "time", "process_time process_time_ns thread_time thread_time_ns"),
    (_STOPWATCH, "time", "clock_gettime clock_gettime_ns"),
    (_STOPWATCH, "timeit", "timeit repeat default_timer"),
    (_SLEEP, "time", "sleep"),
    (_RANDOM, "random", "betavariate choice choices expovariate gammavariate gauss"),
    (_RANDOM, "random", "getrandbits lognormvariate normalvariate paretovariate"),
    (_RANDOM, "random", "randbytes randint random randrange sample seed shuffle"),
    (_RANDOM, "random", "triangular uniform vonmisesvariate weibullvariate Random"),
    (_RANDOM, "numpy.random", "choice default_rng normal permutation rand randint"),
    (_RANDOM, "numpy.random", "randn random seed shuffle uniform"),
    (_UUID, "uuid", "uuid1 uuid4 uuid6 uuid7"),
    (_SECRET, "random", "SystemRandom"),
    (_SECRET, "os", "urandom getrandom"),
    (_SECRET, "ssl", "RAND_bytes"),
    (_SECRET, "secrets", "choice randbelow randbits token_bytes token_hex"),
    (_SECRET, "secrets", "token_urlsafe SystemRandom"),
    (_SESSION, "sqlalchemy", "create_engine create_pool_from_url engine_from_config"),
    (_SESSION, "sqlalchemy.ext.asyncio", "AsyncSession create_async_engine"),
    (_SESSION, "sqlalchemy.ext.asyncio", "async_sessionmaker async_scoped_session"),
    (_SESSION, "sqlalchemy.orm", "Session sessionmaker scoped_session object_session"),
    (_SESSION, "sqlalchemy.orm.session", "Session sessionmaker object_session"),
    (_SESSION, "sqlalchemy.orm", "scoped_session() sessionmaker()"),
    (_SESSION, "flask_sqlalchemy.SQLAlchemy()", "session engine engines"),
    (_SESSION, "operon.Operon()", "engine"),
    (_SESSION, "psycopg", "connect"),
    (_SESSION, "psycopg.Connection", "connect"),
    (_SESSION, "psycopg2", "connect"),
    (_SESSION, "sqlite3", "connect"),
    (_OUTSIDE, "builtins", "open"),
    (_OUTSIDE, "io", "open"),
    (_OUTSIDE, "codecs", "open"),
    (_PRINT, "builtins", "print"),
    (_PRINT, "pprint", "pprint pp"),
    (_PRINT, "sys.stdout", "write writelines"),
    (_PRINT, "sys.stderr", "write writelines"),
    (_INPUT, "builtins", "input"),
    (_INPUT, "getpass", "getpass"),
    (_INPUT, "sys", "stdin"),
    (_OUTSIDE, "os", "access chdir chmod chown close copy_file_range fdopen fsync"),
    (_OUTSIDE, "os", "getcwd kill link listdir lstat makedirs mkdir mkfifo open"),
    (_OUTSIDE, "os", "pipe popen posix_spawn putenv read readlink remove removedirs"),
    (_OUTSIDE, "os", "rename renames replace rmdir scandir startfile stat symlink"),
    (_OUTSIDE, "os", "sync system truncate unlink unsetenv utime walk write"),
    (_OUTSIDE, "os.path", "abspath exists expanduser expandvars getatime getctime"),
    (_OUTSIDE, "os.path", "getmtime getsize isdir isfile islink lexists realpath"),
    (_OUTSIDE, "os.path", "samefile"),
    (_OUTSIDE, "pathlib.Path", "cwd home"),
    (_OUTSIDE, "glob", "glob iglob"),
    (_OUTSIDE, "shutil", "chown copy copy2 copyfile copytree disk_usage move rmtree"),
    (_OUTSIDE, "shutil", "make_archive unpack_archive which"),
    (_OUTSIDE, "tempfile", "NamedTemporaryFile SpooledTemporaryFile TemporaryFile"),
    (_OUTSIDE, "tempfile", "TemporaryDirectory mkdtemp mkstemp gettempdir"),
    (_OUTSIDE, "subprocess", "Popen call check_call check_output getoutput run"),
    (_OUTSIDE, "subprocess", "getstatusoutput"),
    (_OUTSIDE, "socket", "create_connection create_server getaddrinfo socket"),
    (_OUTSIDE, "socket", "gethostbyaddr gethostbyname getnameinfo socketpair"),
    (_OUTSIDE, "select", "select poll epoll"),
    (_OUTSIDE, "http.client", "HTTPConnection HTTPSConnection"),
    (_OUTSIDE, "urllib.request", "urlopen urlretrieve build_opener"),
    (_OUTSIDE, "requests", "delete get head options patch post put request session"),
    (_OUTSIDE, "requests", "Session"),
    (_OUTSIDE, "requests.Session()", "delete get head options patch post put request"),
    (_OUTSIDE, "httpx", "delete get head options patch post put request stream"),
    (_OUTSIDE, "httpx", "AsyncClient Client"),
    (_OUTSIDE, "httpx.Client()", "delete get head options patch post put request send"),
    (_OUTSIDE, "httpx.Client()", "stream"),
    (_OUTSIDE, "urllib3", "PoolManager request"),
    (_OUTSIDE, "aiohttp", "ClientSession request"),
    (_OUTSIDE, "boto3", "client resource Session"),
    (_OUTSIDE, "redis", "Redis from_url"),
    (_OUTSIDE, "smtplib", "SMTP SMTP_SSL"),
    (_OUTSIDE, "ftplib", "FTP FTP_TLS"),
    (_OUTSIDE, "imaplib", "IMAP4 IMAP4_SSL"),
    (_OUTSIDE, "webbrowser", "open"),
    (_PROCESS, "os", "environ environb getenv getenvb getpid getppid getlogin getuid"),
    (_PROCESS, "os", "cpu_count uname getloadavg times getpgid"),
    (_PROCESS, "sys", "argv executable"),
    (_PROCESS, "socket", "gethostname getfqdn"),
    (_PROCESS, "platform", "machine node platform processor release system uname"),
    (_PROCESS, "platform", "python_version version"),
    (_PROCESS, "getpass", "getuser"),
    (_PROCESS, "uuid", "getnode"),
    (_THREADS, "threading", "Barrier Condition Event Lock RLock Semaphore Thread"),
    (_THREADS, "threading", "BoundedSemaphore Timer active_count current_thread"),
    (_THREADS, "threading", "enumerate get_ident get_native_id local"),
    (_THREADS, "_thread", "start_new_thread"),
    (_THREADS, "concurrent.futures", "ProcessPoolExecutor ThreadPoolExecutor"),
    (_THREADS, "concurrent.futures", "as_completed wait"),
    (_THREADS, "concurrent.futures.thread", "ThreadPoolExecutor"),
    (_THREADS, "concurrent.futures.process", "ProcessPoolExecutor"),
    (_THREADS, "multiprocessing", "Manager Pipe Pool Process Queue get_context"),
    (_THREADS, "multiprocessing.pool", "Pool ThreadPool"),
    (_THREADS, "os", "fork forkpty wait waitpid"),
    (_THREADS, "asyncio", "Event Lock Queue Runner Semaphore TaskGroup as_completed"),
    (_THREADS, "asyncio", "create_subprocess_exec create_subprocess_shell create_task"),
    (_THREADS, "asyncio", "ensure_future gather get_event_loop get_running_loop"),
    (_THREADS, "asyncio", "new_event_loop open_connection run sleep timeout"),
    (_THREADS, "asyncio", "run_coroutine_threadsafe shield to_thread wait wait_for"),
    (_THREADS, "signal", "alarm pause setitimer signal sigwait"),
    (_THREADS, "anyio", "create_task_group run sleep to_thread"),
    (_THREADS, "trio", "open_nursery run sleep"),
    (_THREADS, "gevent", "sleep spawn"),
    (_IDENTITY, "builtins", "id hash"),
    (_IDENTITY, "builtins.object", "__hash__ __repr__"),
)

RULES: dict[str, Rule] = {
    f"{prefix}.{name}": rule for rule, prefix, names in _NAMES for name in names.split()
}
"""The rule of every name that is known as a whole."""

_STATEMENTS = "commit execute flush scalar scalars"
_BEGIN = "begin connect dispose raw_connection"
_SESSIONS = (
    f"{_STATEMENTS} add add_all begin begin_nested bulk_save_objects close connection "
    "delete expire expire_all expunge get get_one merge query refresh rollback stream"
)
_NAMED = r"([sS]ession|SessionLocal)(\(\))?"
_FILES = (
    "absolute chmod exists expanduser glob group hardlink_to is_dir is_file is_mount "
    "is_symlink iterdir lchmod lstat mkdir open owner read_bytes read_text readlink "
    "rename replace resolve rglob rmdir samefile stat symlink_to touch unlink walk "
    "write_bytes write_text"
)


def _any(names: str) -> str:
    return "|".join(names.split())


PATTERNS: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (rf"pathlib\.Path\(\)(\..+)?\.({_any(_FILES)})", _OUTSIDE),
        (rf"sqlalchemy\.orm\.(session\.)?Session\(\)\.({_any(_SESSIONS)})", _SESSION),
        # the session of a sessionmaker, or of the registry that is called for it
        (r"sqlalchemy\.orm\.(session\.)?sessionmaker\(\)(\(\))?\.\w+", _SESSION),
        (r"sqlalchemy\.orm\.scoped_session\(\)(\(\))?\.\w+", _SESSION),
        (rf"sqlalchemy\.(engine\.)?create_engine\(\)\.({_any(_BEGIN)})", _SESSION),
        (rf"sqlalchemy\.(engine\.)?Engine\(\)\.({_any(_BEGIN)})", _SESSION),
        (
            rf"sqlalchemy\.(engine\.)?Connection\(\)\.({_any(_STATEMENTS)}|begin|close)",
            _SESSION,
        ),
        # the application's own modules, known by the names everybody gives them
        (r"(.+\.)?db\.session", _SESSION),
        (r".+\.SessionLocal", _SESSION),
        (rf"(.*[._])?{_NAMED}\.({_any(_STATEMENTS)}|add_all|begin)", _SESSION),
        (rf"(.*[._])?engine\.({_any(_BEGIN)})", _SESSION),
        (r".+\.[A-Z]\w*\.query\.(all|filter|filter_by|first|get)", _SESSION),
    )
)
"""The rules of names of which only a part is known."""

ENOUGH_ARGUMENTS = {
    "numpy.random.default_rng": 1,
    "random.Random": 1,
    "time.asctime": 1,
    "time.ctime": 1,
    "time.gmtime": 1,
    "time.localtime": 1,
    "time.strftime": 2,
}
"""Names that are right with so many arguments: they need no clock or chance then."""


@lru_cache(maxsize=4096)  # few names, asked for at many places
def rule_of(origin: str) -> Rule | None:
    """Return why *origin* has no place in a body; None if it may be there."""
    found = RULES.get(origin)
    if found is not None:
        return found
    matching = (rule for pattern, rule in PATTERNS if pattern.fullmatch(origin))
    return next(matching, None)
