//! The `holdfast` tool.

fn main() -> std::process::ExitCode {
    cli::main()
}
