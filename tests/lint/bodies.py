"""Modules with one workflow, made of a few lines of its body."""

from textwrap import indent

from operon.lint import lint_source

IMPORTS = """
import asyncio, builtins, collections, concurrent.futures, contextlib, functools
import glob, hashlib, http.client, io, itertools, json, logging, math, multiprocessing
import os, os.path, pathlib, platform, random, secrets, shutil, signal, socket
import sqlite3, subprocess, sys, tempfile, threading, time, urllib.request, uuid
import httpx, numpy as np, requests
from collections import Counter, defaultdict, deque
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import choice, shuffle
from typing import Annotated, Any, ClassVar, Optional
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from operon import Operon, RunCancelled, Workflow, activity, current, step, transaction
from shop import settings
from shop.extensions import db
"""
"""What a body in these tests may name."""


def module(body: str, *, before: str = "", members: str = "", name: str = "W") -> str:
    """Return a module with the workflow *name*, whose body is *body*."""
    declared = indent(members, "    ")
    lines = f"class {name}(Workflow):\n{declared}\n    def run(self) -> Any:\n"
    return f"{IMPORTS}\n{before}\n{lines}{indent(body, ' ' * 8)}\n"


def in_a_step(body: str, *, before: str = "", members: str = "") -> str:
    """Return a module that does the same in a step."""
    called = f"{members}\n@step\ndef act(self, session: Session) -> Any:\n"
    return module(
        "return self.act()", before=before, members=called + indent(body, "    ")
    )


def found(text: str) -> list[tuple[str, str]]:
    """Return code and code's line of every finding in *text*."""
    lines = text.split("\n")
    return [(each.code, lines[each.line - 1].strip()) for each in lint_source(text)]


def codes(text: str) -> list[str]:
    """Return the code of every finding in *text*."""
    return [each.code for each in lint_source(text)]
