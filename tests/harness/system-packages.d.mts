export declare function findProgram(program: string): string | undefined;
export declare function missingPrograms(engine: string): string[];
export declare function installMissing(engines: string[]): void;
