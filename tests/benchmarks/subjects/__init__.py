"""The programs that are measured, each run as a process of its own.

A program of another library runs in an environment without Operon, so these modules
import nothing but their library, SQLAlchemy and each other.
"""
