"""The schema of the commands' configurations, a module for each command.

The YAML files under ``conf`` hold every default. The classes here hold none: they say which keys
there are, of which type and in which range, so that a mistake is one line naming the key, before
anything slow starts.
"""
