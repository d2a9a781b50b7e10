"""What both scripts declare: layers' arguments, optimizers, schedules, loaders, settings."""
